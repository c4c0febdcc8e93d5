"""Fitting the plugins: first one for all users, then one per stratum, shrunk towards the first."""

import logging

import numpy as np
import torch
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.fitting.candidates import PluginExamples, collect_examples, fit, sum_of_losses
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.plugins import Plugins, build_space
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import PredictionSpace
from pinet_kedro.training.memory import check_memory, state_space_need

log = logging.getLogger(__name__)


def fit_plugins(
    backbone: Backbone, dataset: Dataset, scorers: FrozenScorers, config: PluginTraining
) -> tuple[Plugins, Plugins]:
    """Plugins by stratum, and the shared plugin for all strata (an ablation).

    L-BFGS minimises over θ the mean cross-entropy of the n users' validation targets among candidates, plus
    (ridge / n) · ‖θ − θ₀‖². The first fit is shared by all users; its θ₀ gives the logits of the backbone (the logit
    space has few parameters and needs no ridge here). Then each stratum is fitted on its own users, with the shared θ
    as θ₀. Every stratum gets the option with the lowest cross-validated loss: none, shared or own (the simpler one on a
    tie). With fewer validation targets than folds nothing is fitted, and every stratum gets none.
    """
    check_memory(state_space_need(config, backbone.config.width))
    space = build_space(config, len(scorers.names), backbone.item_vectors().shape[1])
    strata, users = dataset.strata.training, dataset.validation_users
    if len(users) < config.folds:
        repeats = dataset.split.repeated_valid
        way = (
            f"{repeats:,} held-out events repeat an item and are no targets under exclude_seen: true"
            if repeats
            else "Under splitting.rule: global_time, hold out more (splitting.valid_share) or use leave_one_out"
        )
        log.warning(
            "No plugins are fitted: validation targets: %d, plugin_training.folds: %d. %s.",
            len(users),
            config.folds,
            way,
        )
        none = Plugins(config, space.start().repeat(len(strata), 1), ("none",) * len(strata), scorers)
        return none, none
    examples = collect_examples(backbone, dataset, users, scorers, config)
    stratum = strata.assign(dataset.split.valid_at[examples.users])  # as `Recommender.scores` routes them
    groups = [np.flatnonzero(stratum == a) for a in range(len(strata))]
    everyone = np.arange(len(examples.users))
    shared, own = _fit_all(space, examples, everyone, groups, config.ridge)
    losses = np.zeros((len(groups), 3))
    fold = np.random.default_rng(config.seed).permutation(everyone) % config.folds
    for f in range(config.folds):
        seen = [g[fold[g] != f] for g in groups]
        fold_shared, fold_own = _fit_all(space, examples, everyone[fold != f], seen, config.ridge)
        for a, group in enumerate(groups):
            held = group[fold[group] == f]
            thetas = (space.start(), fold_shared, fold_own[a])
            losses[a] += [float(sum_of_losses(space, examples, theta, held)) for theta in thetas]
    best = losses.argmin(1)
    best[[len(group) == 0 for group in groups]] = 1  # strata without validation users take the shared plugin
    choices = ("none", "shared", "own")
    theta = torch.stack([(space.start(), shared, own[a])[best[a]] for a in range(len(groups))])
    by_stratum = Plugins(config, theta, tuple(choices[b] for b in best), scorers)
    the_same = Plugins(config, shared.expand(len(groups), -1).contiguous(), ("shared",) * len(groups), scorers)
    return by_stratum, the_same


def _fit_all(
    space: PredictionSpace, examples: PluginExamples, everyone: np.ndarray, groups: list[np.ndarray], ridge: float
) -> tuple[Tensor, list[Tensor]]:
    shared = fit(space, examples, everyone, space.start(), ridge if space.shrink_shared else 0.0)
    return shared, [fit(space, examples, group, shared, ridge) if len(group) else shared for group in groups]
