"""Cross-fitting: plugins evaluated on validation targets on which they were not fitted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.recommender import new_recommender

_FOLDS = 2


def cross_fitted_ranks(
    backbones: Sequence[Backbone], dataset: Dataset, config: PluginTraining, scorers: FrozenScorers | None = None
) -> list[Ranks]:
    """For each backbone, the rank of the validation target of every validation user, in order, with plugins fitted on
    the other half of users.

    For each half, all choices (the values of the memory, none, shared or own plugins, and their parameters) use only
    the targets of the other half. Metrics are a little lower than with plugins fitted on all users, equally for all
    compared models. Given `scorers` are used as they are; their memory was chosen without a backbone, so it favours
    none.
    """
    split, users = dataset.split, dataset.validation_users
    fold = np.random.default_rng(config.seed).permutation(len(users)) % _FOLDS
    alone = [new_recommender(backbone, dataset) for backbone in backbones]
    found = [Ranks(np.empty(len(users)), np.empty(len(users), np.int64)) for _ in backbones]
    for f in range(_FOLDS):
        held = users[fold == f]
        valid_at = np.array(split.valid_at)
        valid_at[held] = -1
        others = replace(dataset, split=replace(split, valid_at=valid_at))
        shared = scorers or build_scorers(others, alone[0].popularity, config)
        for model, all_ranks in zip(alone, found, strict=True):
            own, _ = fit_plugins(model.backbone, others, shared, config)
            pin = replace(model, plugins=own)
            ranks = target_ranks(pin, dataset.sequences, held, split.valid_at[held], split.exclude_seen)
            all_ranks.rank[fold == f], all_ranks.candidates[fold == f] = ranks.rank, ranks.candidates
    return found
