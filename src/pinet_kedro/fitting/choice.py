"""The choice of PIN's backbone, on validation targets: by gradient aggregation, unless it is shown to be worse."""

from typing import Literal

from pydantic import Field

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.configuration import Stored
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.calls import AtOnce, in_turn
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.fitting.cross_fit import cross_fitted_ranks
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers

Gain = dict[str, float | None]
Wanted = Literal["auto", "deconfounded", "joint"]
_GROUPS = ("all", "tail", "head")


class BackboneChoice(Stored):
    """The backbone on which PIN stands.

    `reason`: `no_aggregation` (only the joint backbone exists), `configured`, `worse` (aggregation is shown to be
    worse), `not_worse`, or `not_measured` (too few validation targets that one of the two ranks in its first ten).
    `gains`: of the backbone trained by aggregation over the joint one in validation NDCG@10 under plugins, by group of
    users (`intervals.relative_gain`); empty where nothing was compared.
    """

    backbone: Literal["deconfounded", "joint"]
    reason: Literal["no_aggregation", "configured", "worse", "not_worse", "not_measured"]
    gains: dict[str, Gain] = Field(default_factory=dict)


def choose_backbone(
    backbones: tuple[Backbone, Backbone | None],
    dataset: Dataset,
    scorers: FrozenScorers,
    config: PluginTraining,
    wanted: Wanted,
    at_once: AtOnce = in_turn,
) -> BackboneChoice:
    """The backbone that is `wanted`, of the joint and the deconfounded one; with `auto` the latter, unless it is worse.

    It is worse if the 95 % interval of its gain in NDCG@10 is below 0 for all, for tail or for head users. Both
    backbones get plugins with the same scorers, fitted on the other half of the users (`cross_fitted_ranks`), and are
    compared on the same validation targets.
    """
    joint, deconfounded = backbones
    if deconfounded is None:
        return BackboneChoice(backbone="joint", reason="no_aggregation")
    if wanted != "auto":
        return BackboneChoice(backbone=wanted, reason="configured")
    users = dataset.validation_users
    if len(users) < 2 * config.folds:  # half of them are too few to fit plugins
        return BackboneChoice(backbone="deconfounded", reason="not_measured")
    groups = dataset.strata.groups(dataset.activeness[users])
    ranks = cross_fitted_ranks([deconfounded, joint], dataset, config, scorers, at_once)
    ours, reference = (user_metrics(of_model)["ndcg_at_10"] for of_model in ranks)
    gains = {group: relative_gain(ours[groups[group]], reference[groups[group]]) for group in _GROUPS}
    ends = [gain["high"] for gain in gains.values() if gain["high"] is not None]
    if gains["all"]["high"] is None:
        return BackboneChoice(backbone="deconfounded", reason="not_measured", gains=gains)
    if min(ends) < 0:
        return BackboneChoice(backbone="joint", reason="worse", gains=gains)
    return BackboneChoice(backbone="deconfounded", reason="not_worse", gains=gains)
