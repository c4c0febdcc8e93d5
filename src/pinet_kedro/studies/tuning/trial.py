"""One trial: a backbone trained on the short budget with the trial's values, judged on validation targets.

A backbone does not learn from validation targets, so its NDCG@10 there is honest. Plugins are fitted on those targets:
where the space has parameters of theirs, a trial is judged with plugins that were fitted on other users
(`training/cross_fit.py`), and pruned by the curve of its backbone. Test targets are not used.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlflow.entities import Metric
from optuna import TrialPruned
from optuna.trial import Trial, TrialState

from pinet_kedro.evaluation.metrics import metrics_by_group
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Pruning
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.queue import REASON, slot_of, try_again
from pinet_kedro.tracking.nested import NestedRun
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.training.backbone import EpochReport, train_backbone
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.cross_fit import cross_fitted_ranks

log = logging.getLogger("pinet_kedro")

BASE, CURVE, EPOCHS, SECONDS, SLOT = "base", "curve", "epochs", "seconds", "slot"  # attributes in the storage
GROUPS = ("head", "tail")
Curve = Mapping[str, Mapping[str, float]]  # epoch, as JSON has it -> head and tail NDCG@10 on validation targets


@dataclass(frozen=True)
class Objective:
    """The objectives of a trial; where `parent` is tracked, it is also recorded as a nested run."""

    plan: StudyPlan
    parent: MlflowRun | None
    started: Callable[[], None]

    def __call__(self, trial: Trial) -> list[float]:
        self.started()
        run = NestedRun(self.parent, f"trial {trial.number}") if self.parent else None
        state, status, failure = "COMPLETE", "FINISHED", ""
        try:
            ndcg = self._train(trial, run)
        except TrialPruned:
            state = "PRUNED"
            raise
        except (KeyboardInterrupt, SystemExit) as stop:
            state, status, failure = "interrupted", "KILLED", type(stop).__name__
            if isinstance(stop, KeyboardInterrupt):  # Optuna fails the trial; after an exit the next run does
                try_again(trial.study, trial.study.get_trials()[trial.number])
            raise
        except Exception as error:
            state, status, failure = "FAIL", "FAILED", f"{type(error).__name__}: {error}"[:1000]
            trial.set_user_attr(REASON, failure)
            raise
        finally:
            if run:
                run.end(status, {"trial.state": state} | ({"failure": failure} if failure else {}))
            reached = list(trial.user_attrs.get(CURVE, {}).values())[-1:]
            ndcg_text = ", ".join(f"{group} {value:.4f}" for point in reached for group, value in point.items())
            log.info("Trial %d: %s, %s", trial.number, state.lower(), failure or ndcg_text)
        return [ndcg[name] for name in self.plan.objectives]

    def _train(self, trial: Trial, run: NestedRun | None) -> dict[str, float]:
        plan, study = self.plan, trial.study
        slot, values = slot_of(study, trial.number), plan.space.suggest(trial)
        trial.set_user_attr(SLOT, slot)
        if run:
            tags = {"study": plan.name, "study.storage": plan.address, "data.sha256": plan.dataset.split_sha256}
            run.start(tags | {"trial": str(trial.number), "trial.slot": str(slot)}, values)
        training, plugins = plan.space.configured(values)
        metrics: list[Metric] = []
        curve: dict[str, dict[str, float]] = {}
        began = time.perf_counter()

        def keep(facts: dict[str, Any]) -> None:
            for name, value in {**facts, SECONDS: time.perf_counter() - began}.items():
                trial.set_user_attr(name, value)

        def on_epoch(report: EpochReport) -> None:
            metrics.extend(Metric(key, value, 0, report.epoch) for key, value in report.row().items())
            if report.valid_ndcg:
                if run:  # not every epoch: one of a small model takes less time than a request
                    run.log(metrics[:])
                    metrics.clear()
                ndcg = curve[str(report.epoch)] = {group: report.valid_ndcg[group] for group in GROUPS}
                keep({CURVE: curve, EPOCHS: report.epoch})
                finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
                others = [trial.user_attrs.get(CURVE, {}) for trial in finished]
                if report.epoch < report.epochs and is_unpromising(
                    report.epoch, {name: ndcg[name] for name in plan.objectives}, others, plan.config.pruning
                ):
                    raise TrialPruned

        ndcg = validation_ndcg(plan, plan.short(training, plan.config.seed + slot), plugins, on_epoch)
        keep(ndcg)
        if run:
            run.log([Metric(f"valid_{group}", ndcg[group], 0, 0) for group in GROUPS])
        if plan.objectives == ["tail"]:
            trial.set_constraint("head", study.user_attrs[BASE]["head"] - ndcg["head"])
        return ndcg


def is_unpromising(epoch: int, ndcg: Mapping[str, float], others: Iterable[Curve], pruning: Pruning) -> bool:
    """Whether every objective is below `quantile` of what the finished trials had at this epoch.

    Optuna prunes no trials with two objectives. Pruned trials count up to their last epoch, so that the bar does not
    rise with every one; a trial that is good at one end of the front goes on.
    """
    reached = [curve[str(epoch)] for curve in others if str(epoch) in curve]
    if pruning.quantile == 0 or epoch < pruning.from_epoch or len(reached) < pruning.least:
        return False
    return all(
        value < np.quantile([point[name] for point in reached], pruning.quantile) for name, value in ndcg.items()
    )


def validation_ndcg(
    plan: StudyPlan, training: BackboneTraining, plugins: PluginTraining, on_epoch: Callable[[EpochReport], None]
) -> dict[str, float]:
    """NDCG@10 of head and tail on validation targets after training: alone, or with cross-fitted plugins."""
    dataset, last = plan.dataset, {}

    def keep(report: EpochReport) -> None:
        last.update(report.valid_ndcg or {})
        on_epoch(report)

    backbone = train_backbone(dataset, training.joint() if plan.config.joint else training, keep)
    if plan.space.tunes_plugins:
        groups = dataset.strata.groups(dataset.activeness[dataset.validation_users])
        ranks = cross_fitted_ranks(backbone, dataset, plugins)
        metrics = metrics_by_group(ranks, {group: groups[group] for group in GROUPS})
        last = {group: values["ndcg_at_10"] for group, values in metrics.items()}
    return {group: last[group] for group in GROUPS}
