"""One trial: a backbone trained on the short budget with the values of the trial, judged on validation targets.

A backbone sees no validation target while it trains, so its NDCG@10 there is honest. Plugins are fitted on those very
targets: where the space has parameters of theirs, a trial is judged with plugins that were fitted on other users
(`training/cross_fit.py`), and given up by the curve of its backbone. Test targets are not looked at.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from pinet_kedro.evaluation.metrics import metrics_by_group
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.pruning import is_hopeless
from pinet_kedro.studies.tuning.sampling import SLOT
from pinet_kedro.training.backbone import EpochReport, train_backbone
from pinet_kedro.training.cross_fit import cross_fitted_ranks

if TYPE_CHECKING:
    from optuna import Study, Trial

    from pinet_kedro.backbones.backbone import Backbone
    from pinet_kedro.plugins.config import PluginTraining

CURVE, SECONDS, SEEN, BASE = "curve", "training_seconds", "seen", "base"
GROUPS = ("head", "tail")
_SEEN_EVERY_S = 20.0


@dataclass
class Watched:
    """The `on_epoch` of a trial: the curve so far, as the storage has it, and the end of a trial without promise."""

    study: "Study"
    trial: "Trial"
    plan: Plan
    on_report: Callable[[EpochReport], None]
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    _last: float = 0.0

    def __call__(self, report: EpochReport) -> None:
        self.seconds += report.seconds
        self.on_report(report)
        if report.valid_ndcg:
            ndcg = {group: report.valid_ndcg[group] for group in GROUPS}
            self.curve[report.epoch] = ndcg
            self.trial.set_user_attr(CURVE, {str(epoch): point for epoch, point in self.curve.items()})
            if report.epoch < report.epochs and self._hopeless(report.epoch, ndcg):
                raise optuna.TrialPruned
        if time.monotonic() - self._last > _SEEN_EVERY_S:
            self._last = time.monotonic()
            self.trial.set_user_attr(SEEN, time.time())

    def _hopeless(self, epoch: int, ndcg: dict[str, float]) -> bool:
        pruning = self.plan.config.pruning
        if self.plan.two_objectives:
            states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
            finished = self.study.get_trials(deepcopy=False, states=states)
            return is_hopeless(epoch, ndcg, map(curve_of, finished), pruning)
        self.trial.report(ndcg["tail"], epoch)
        return epoch >= pruning.from_epoch and self.trial.should_prune()


def curve_of(trial: optuna.trial.FrozenTrial) -> dict[int, dict[str, float]]:
    """Validation NDCG@10 of head and tail by epoch."""
    return {int(epoch): point for epoch, point in trial.user_attrs.get(CURVE, {}).items()}


def run_trial(
    study: "Study", trial: "Trial", plan: Plan, on_start: Callable[[dict[str, Any]], None],
    on_report: Callable[[EpochReport], None],
) -> dict[str, float]:  # fmt: skip
    """Head and tail NDCG@10 of the trial on validation targets; raises `TrialPruned` when it is given up."""
    values = plan.space.suggest(trial)
    on_start(values)
    training, plugins = plan.space.configured(values)
    training = plan.short(training, plan.config.seed + trial.user_attrs[SLOT])
    watch = Watched(study, trial, plan, on_report)
    try:
        backbone = train_backbone(
            plan.data, training.model_copy(update={"aggregation": plan.aggregation(training)}), watch
        )
        ndcg = watch.curve[training.schedule.epochs]
        if plan.space.tunes_plugins:
            started = time.perf_counter()
            ndcg = _cross_fitted(backbone, plan, plugins)
            watch.seconds += time.perf_counter() - started
    finally:
        trial.set_user_attr(SECONDS, watch.seconds)
    for group in GROUPS:
        trial.set_user_attr(group, ndcg[group])
    if not plan.two_objectives:
        trial.set_constraint("head", study.user_attrs[BASE]["head"] - ndcg["head"])
    return ndcg


def train_base(plan: Plan) -> dict[str, Any]:
    """What the jointly trained base of the shipped configuration reaches on a trial's budget: head, tail, curve.

    Judged as the trials are: alone, or with cross-fitted plugins where those are tuned.
    """
    curve: dict[str, dict[str, float]] = {}

    def keep(report: EpochReport) -> None:
        if report.valid_ndcg:
            curve[str(report.epoch)] = {group: report.valid_ndcg[group] for group in GROUPS}

    training = plan.short(plan.training, plan.config.seed)
    backbone = train_backbone(plan.data, training.joint(), keep)
    ndcg = curve[str(training.schedule.epochs)]
    if plan.space.tunes_plugins:
        ndcg = _cross_fitted(backbone, plan, plan.plugins)
    return {**ndcg, CURVE: curve}


def _cross_fitted(backbone: "Backbone", plan: Plan, plugins: "PluginTraining") -> dict[str, float]:
    data = plan.data
    ranks = cross_fitted_ranks(backbone, data, plugins)
    groups = data.strata.groups(np.asarray(data.split.train_end)[np.flatnonzero(data.split.valid_at > 0)])
    table = metrics_by_group(ranks, {group: groups[group] for group in GROUPS})
    return {group: table[group]["ndcg_at_10"] for group in GROUPS}
