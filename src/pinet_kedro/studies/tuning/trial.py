"""One trial: a backbone trained on the short budget with the trial's values, judged on validation targets.

A backbone does not learn from validation targets. Plugins are fitted on them: if the space has parameters of plugins, a
trial is judged with plugins that were fitted on other users (`fitting/cross_fit.py`). Test targets are not used.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from mlflow.entities import Metric
from optuna import Study, TrialPruned
from optuna.trial import FrozenTrial, Trial, TrialState

from pinet_kedro.evaluation.metrics import metrics_by_group
from pinet_kedro.fitting.cross_fit import cross_fitted_ranks
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Pruning
from pinet_kedro.studies.tuning.plan import StudyPlan, slot_of, try_again
from pinet_kedro.tracking.nested import NestedRun
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.training.backbone import EpochReport, OnEpoch, train_backbone
from pinet_kedro.training.config import BackboneTraining

log = logging.getLogger("pinet_kedro")

GROUPS = ("head", "tail")
Ndcg = dict[str, float]  # NDCG@10 of head and tail on validation targets


class TrackedTrial:
    """The objectives of a trial; where `parent` is tracked, it is also recorded as a nested run.

    `close` is the study's callback: the run ends as FINISHED when the study has the result, so that a trial which is
    repeated after a kill is nowhere recorded as finished.
    """

    def __init__(self, plan: StudyPlan, parent: MlflowRun | None, started: Callable[[], None]) -> None:
        self._plan, self._parent, self._started = plan, parent, started
        self._run: NestedRun | None = None

    def __call__(self, trial: Trial) -> list[float]:
        self._started()
        self._run = NestedRun(self._parent, f"trial {trial.number}") if self._parent else None
        try:
            ndcg = _train(self._plan, self._run, trial)
        except TrialPruned:
            log.info("Trial %d: pruned", trial.number)
            raise
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            status, state = ("KILLED", "interrupted") if killed else ("FAILED", "FAIL")
            reason = f"{type(error).__name__}: {error}"[:1000]
            log.info("Trial %d: %s %s", trial.number, state.lower(), reason)
            if not killed:
                trial.set_user_attr("reason", reason)
            if isinstance(error, KeyboardInterrupt):  # Optuna fails the trial; after an exit the next run does
                try_again(trial.study, trial.study.get_trials()[trial.number])
            self._end(status, {"trial.state": state, "failure": reason})
            raise
        log.info("Trial %d: complete %s", trial.number, ", ".join(f"{group} {ndcg[group]:.4f}" for group in ndcg))
        return [ndcg[name] for name in self._plan.objectives]

    def close(self, _: Study, trial: FrozenTrial) -> None:
        """Ends the run of a trial that is complete or pruned; that of a failed one has ended with its error."""
        if trial.state != TrialState.FAIL:
            self._end("FINISHED", {"trial.state": trial.state.name})

    def _end(self, status: str, tags: dict[str, str]) -> None:
        if self._run:
            self._run.end(status, tags)


def _train(plan: StudyPlan, run: NestedRun | None, trial: Trial) -> Ndcg:
    study = trial.study
    slot, values = slot_of(study, trial.number), plan.space.suggest(trial)
    trial.set_user_attr("slot", slot)
    if run:
        run.start({"study": plan.name, "trial": str(trial.number), "trial.slot": str(slot)}, values)
    training, plugins = plan.space.configured(values)
    metrics: list[Metric] = []
    curve: dict[str, Ndcg] = {}

    def on_epoch(report: EpochReport) -> None:
        metrics.extend(Metric(key, value, 0, report.epoch) for key, value in report.row().items())
        if report.valid_ndcg:
            if run:  # not every epoch: one of a small model takes less time than a request
                run.log(metrics[:])
                metrics.clear()
            curve[str(report.epoch)] = {group: report.valid_ndcg[group] for group in GROUPS}
            trial.set_user_attr("curve", curve)
            trial.set_user_attr("epochs", report.epoch)
            finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
            others = [trial.user_attrs.get("curve", {}) for trial in finished]
            reached = {name: report.valid_ndcg[name] for name in plan.objectives}
            if report.epoch < report.epochs and is_unpromising(report.epoch, reached, others, plan.config.pruning):
                raise TrialPruned

    ndcg = validation_ndcg(plan, plan.short(training, plan.config.seed + slot), plugins, on_epoch)
    for group, value in ndcg.items():
        trial.set_user_attr(group, value)
    if run:
        run.log([Metric(f"valid_{group}", value, 0, 0) for group, value in ndcg.items()])
    if plan.objectives == ["tail"]:
        trial.set_constraint("head", study.user_attrs["base"]["head"] - ndcg["head"])
    return ndcg


def is_unpromising(epoch: int, ndcg: Ndcg, others: Iterable[Mapping[str, Ndcg]], pruning: Pruning) -> bool:
    """Whether every objective is below `quantile` of what the finished trials had at this epoch.

    Optuna prunes no trials with two objectives. Pruned trials count up to their last epoch, so that the bar does not
    rise with every one; a trial that is good at one end of the front goes on.
    """
    reached = [curve[str(epoch)] for curve in others if str(epoch) in curve]
    if pruning.quantile == 0 or epoch < pruning.from_epoch or len(reached) < pruning.least:
        return False
    bars = {name: np.quantile([point[name] for point in reached], pruning.quantile) for name in ndcg}
    return all(value < bars[name] for name, value in ndcg.items())


def validation_ndcg(plan: StudyPlan, training: BackboneTraining, plugins: PluginTraining, on_epoch: OnEpoch) -> Ndcg:
    """NDCG@10 of head and tail on validation targets after training: alone, or with cross-fitted plugins."""
    dataset, last = plan.dataset, {}

    def keep(report: EpochReport) -> None:
        last.update(report.valid_ndcg or {})
        on_epoch(report)

    backbone = train_backbone(dataset, training.joint() if plan.config.joint else training, keep)
    if plan.space.tunes_plugins:
        groups = dataset.strata.groups(dataset.activeness[dataset.validation_users])
        [ranks] = cross_fitted_ranks([backbone], dataset, plugins)
        metrics = metrics_by_group(ranks, groups)
        last = {group: metrics[group]["ndcg_at_10"] for group in GROUPS}
    return {group: last[group] for group in GROUPS}
