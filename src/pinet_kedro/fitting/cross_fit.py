"""Cross-fitting: plugins evaluated on validation targets on which they were not fitted."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.calls import AtOnce, in_turn
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.recommender import Recommender, new_recommender

_FOLDS = 2


def cross_fitted_ranks(
    backbones: Sequence[Backbone],
    dataset: Dataset,
    config: PluginTraining,
    scorers: FrozenScorers | None = None,
    at_once: AtOnce = in_turn,
) -> list[Ranks]:
    """For each backbone, the rank of the validation target of every validation user, in order, with plugins fitted on
    the other half of users.

    For each half, all choices (the values of the memory, none, shared or own plugins, and their parameters) use only
    the targets of the other half. Metrics are a little lower than with plugins fitted on all users, equally for all
    compared models. Given `scorers` are used as they are; their memory was chosen without a backbone, so it favours
    none.
    """
    users = dataset.validation_users
    fold = np.random.default_rng(config.seed).permutation(len(users)) % _FOLDS
    alone = [new_recommender(backbone, dataset) for backbone in backbones]
    found = [Ranks(np.empty(len(users)), np.empty(len(users), np.int64)) for _ in backbones]
    calls = []
    for f in range(_FOLDS):
        held = users[fold == f]
        shared = scorers or build_scorers(_without(dataset, held), alone[0].popularity, config)
        calls += [partial(_held_ranks, model, dataset, held, shared, config) for model in alone]
    ranked = iter(at_once(calls))
    for f in range(_FOLDS):
        for all_ranks in found:
            ranks = next(ranked)
            all_ranks.rank[fold == f], all_ranks.candidates[fold == f] = ranks.rank, ranks.candidates
    return found


def _held_ranks(
    alone: Recommender, dataset: Dataset, held: np.ndarray, scorers: FrozenScorers, config: PluginTraining
) -> Ranks:
    """Ranks of the validation targets of the `held` users, with plugins fitted on all other users."""
    split = dataset.split
    own, _ = fit_plugins(alone.backbone, _without(dataset, held), scorers, config)
    pin = replace(alone, plugins=own)
    return target_ranks(pin, dataset.sequences, held, split.valid_at[held], split.exclude_seen)


def _without(dataset: Dataset, held: np.ndarray) -> Dataset:
    """The data without the validation targets of these users."""
    valid_at = np.array(dataset.split.valid_at)
    valid_at[held] = -1
    return replace(dataset, split=replace(dataset.split, valid_at=valid_at))
