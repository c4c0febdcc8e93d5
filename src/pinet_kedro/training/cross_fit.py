"""Plugins judged on validation targets that they were not fitted on."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender
from pinet_kedro.training.plugin import fit_plugins
from pinet_kedro.training.scorers import build_scorers

_FOLDS = 2


def cross_fitted_ranks(
    backbone: Backbone,
    sequences: Sequences,
    split: Split,
    strata: ReportingStrata,
    items: pd.DataFrame,
    config: PluginTraining,
) -> Ranks:
    """Rank of every user's validation target, users in their order, under plugins by stratum of the other half's.

    Each half of the users is ranked by plugins whose every choice (the memory's settings, none, shared or own, and the
    parameters) was made on the targets of the other half alone. What a fit on all users would gain is left out, so the
    figures are a little low, and alike for all that are compared.
    """
    users = np.flatnonzero(split.valid_at > 0)
    fold = np.random.default_rng(config.seed).permutation(len(users)) % _FOLDS
    popularity = count_popularity(sequences, split, len(items))
    alone = Recommender(backbone, strata, popularity, items["item_id"].to_numpy(object))
    rank, candidates = np.empty(len(users)), np.empty(len(users), np.int64)
    for f in range(_FOLDS):
        held = users[fold == f]
        valid_at = np.array(split.valid_at)
        valid_at[held] = -1
        others = replace(split, valid_at=valid_at)
        scorers = build_scorers(sequences, others, popularity, config)
        own, _ = fit_plugins(backbone, sequences, others, strata, scorers, config)
        pin = replace(alone, plugins=own)
        ranks = target_ranks(pin, sequences, held, split.valid_at[held], split.exclude_seen)
        rank[fold == f], candidates[fold == f] = ranks.rank, ranks.candidates
    return Ranks(rank, candidates)
