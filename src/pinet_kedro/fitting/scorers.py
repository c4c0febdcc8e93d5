"""Building the frozen scorers: fitted on training events, with the memory's parameters chosen on validation targets."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pinet_kedro.configuration import Configuration
from pinet_kedro.dataset import Dataset
from pinet_kedro.evidence import block_users
from pinet_kedro.fitting.candidates import PluginExamples, collect_examples, fit, sum_of_losses
from pinet_kedro.plugins.config import MemoryConfig, MemorySearch, PluginTraining
from pinet_kedro.plugins.frozen_scorer import FrozenScorer, log_scaled
from pinet_kedro.plugins.memory import TransitionMemory, build_memory
from pinet_kedro.plugins.popularity import Popularity
from pinet_kedro.plugins.scorers import SCORERS, FrozenScorers
from pinet_kedro.plugins.spaces import LogitSpace
from pinet_kedro.training.memory import check_memory, plugin_needs

log = logging.getLogger(__name__)


def build_scorers(dataset: Dataset, popularity: Popularity, config: PluginTraining) -> FrozenScorers:
    """The scorers that all plugins of a run share.

    The search sets one parameter of the memory after the other to the value with the lowest loss on validation targets,
    for a plugin without a backbone (`LogitSpace` with τ = 0, one fit for all users). It uses no backbone, so that all
    compared models have the same memory.
    """
    n_items, users = dataset.n_items, dataset.validation_users
    check_memory(plugin_needs(config, n_items, len(users), min(len(users), block_users(n_items))))
    others = fit_others(dataset, config.configured_scorers())
    for name in config.configured_scorers().keys() - others.keys():
        log.warning("The scorer '%s' is left out: these data lack what it reads (categories: item_metadata).", name)
    _warn_of_unknown(dataset, others if config.kind == "logit_space" else {})
    given = FrozenScorers(build_memory(dataset, config.memory), others, popularity)
    if config.memory_search is None or len(users) < config.folds:
        return given
    if len(users) > config.memory_search.users:
        drawn = np.random.default_rng(config.seed).choice(users, config.memory_search.users, replace=False)
        users = np.sort(drawn)
    examples = collect_examples(None, dataset, users, given, config)
    return replace(given, memory=_choose(given.memory, examples, dataset, config.memory_search))


def _warn_of_unknown(dataset: Dataset, others: Mapping[str, FrozenScorer]) -> None:
    """Says what score the items have of which nothing is known: no events, and no categories that a scorer reads."""
    unknown = np.arange(dataset.n_items) >= dataset.logged.n_items
    if "categories" in others and dataset.categories is not None:
        unknown &= np.diff(dataset.categories.indptr) == 0
    if count := int(unknown.sum()):
        log.warning(
            "%s items have no events, nor categories that a scorer reads. All of them have the same score: from the "
            "backbone that of an average rare item, from the scorers that of 0 events; which of them comes first says "
            "nothing. Give them categories (item_metadata), and the plugins the scorer that reads these: "
            "plugin_training.scorers: {categories: {}}.", f"{count:,}",
        )  # fmt: skip


def fit_others(dataset: Dataset, configured: Mapping[str, Configuration]) -> dict[str, FrozenScorer]:
    """The configured scorers beside memory and popularity, without those that lack what they read."""
    fitted = {name: kind.fit(dataset, configured[name]) for name, kind in SCORERS.items() if name in configured}
    return {name: scorer for name, scorer in fitted.items() if scorer is not None}


def _choose(
    memory: TransitionMemory, examples: PluginExamples, dataset: Dataset, search: MemorySearch
) -> TransitionMemory:
    first = lowest = _loss(memory, examples, dataset)
    for name in ("max_lag", "window", "decay"):
        current = memory.config
        for value in getattr(search, name):
            if value == getattr(current, name):
                continue
            config = MemoryConfig.model_validate(current.model_dump() | {name: value})
            other = build_memory(dataset, config) if name == "max_lag" else replace(memory, config=config)
            loss = _loss(other, examples, dataset)
            if loss < lowest:
                memory, lowest = other, loss
    chosen = ", ".join(f"{name} {getattr(memory.config, name)}" for name in ("max_lag", "window", "decay"))
    log.info("Memory: %s (loss on validation targets %.4f, before the search %.4f)", chosen, lowest, first)
    return memory


@torch.no_grad()
def _recalled(memory: TransitionMemory, examples: PluginExamples, dataset: Dataset) -> Float[Tensor, "B C"]:
    """The term of the memory for the candidates of the examples."""
    columns, found = examples.evidence.columns, []
    assert columns is not None
    block = block_users(memory.matrix.shape[0])
    for start in range(0, len(examples.users), block):
        users = examples.users[start : start + block]
        histories = dataset.sequences.windows(users, dataset.split.valid_at[users], memory.config.window)
        recalled = torch.from_numpy(memory.recall(histories).toarray())
        found.append(recalled.gather(1, columns[start : start + block]))
    return log_scaled(torch.cat(found))


def _loss(memory: TransitionMemory, examples: PluginExamples, dataset: Dataset) -> float:
    """Mean loss of a plugin without a backbone, fitted with this memory on the examples."""
    terms = (_recalled(memory, examples, dataset), *examples.evidence.terms[1:])
    examples = replace(examples, evidence=replace(examples.evidence, terms=terms))
    space, everyone = LogitSpace(len(terms), backbone=False), np.arange(len(examples.users))
    theta = fit(space, examples, everyone, space.start(), ridge=0.0)
    return float(sum_of_losses(space, examples, theta, everyone)) / len(everyone)
