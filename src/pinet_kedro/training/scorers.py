"""Building the frozen scorers: fitted on training events, the memory's settings chosen on validation targets."""

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pinet_kedro.evaluation.ranks import block_users
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.plugins.config import MemoryConfig, MemorySearch, PluginTraining
from pinet_kedro.plugins.factors import fit_factors
from pinet_kedro.plugins.memory import TransitionMemory, build_memory
from pinet_kedro.plugins.popularity import Popularity
from pinet_kedro.plugins.scorers import FrozenScorers, log_scaled
from pinet_kedro.plugins.spaces import LogitSpace
from pinet_kedro.training.candidates import Cases, collect_cases, fit, sum_of_losses
from pinet_kedro.training.memory import check_memory, plugin_needs

log = logging.getLogger(__name__)


def build_scorers(sequences: Sequences, split: Split, popularity: Popularity, config: PluginTraining) -> FrozenScorers:
    """The scorers that all plugins of a run share.

    The memory takes, one dial after the other, the setting with which a plugin without a backbone (`LogitSpace` with
    τ = 0, one fit for all users) has the lowest loss on validation targets. No backbone is asked, so that the models
    that are compared have one memory.
    """
    n_items = len(popularity.counts)
    users = np.flatnonzero(split.valid_at > 0)
    check_memory(plugin_needs(config, n_items, len(users), min(len(users), block_users(n_items))))
    factors = fit_factors(sequences, split, n_items, config.factors) if config.factors else None
    given = FrozenScorers(build_memory(sequences, split, n_items, config.memory), factors, popularity)
    if config.memory_search is None or len(users) < config.folds:
        return given
    if len(users) > config.memory_search.users:
        drawn = np.random.default_rng(config.seed).choice(users, config.memory_search.users, replace=False)
        users = np.sort(drawn)
    cases = collect_cases(None, sequences, split, users, given, config)
    return replace(given, memory=_choose(given.memory, cases, sequences, split, config.memory_search))


def _choose(
    memory: TransitionMemory, cases: Cases, sequences: Sequences, split: Split, search: MemorySearch
) -> TransitionMemory:
    first = lowest = _loss(memory, cases, sequences, split)
    for dial in ("max_lag", "window", "decay"):
        tried = memory.config
        for value in getattr(search, dial):
            if value == getattr(tried, dial):
                continue
            config = MemoryConfig.model_validate(tried.model_dump() | {dial: value})
            if dial == "max_lag":
                other = build_memory(sequences, split, memory.matrix.shape[0], config)
            else:
                other = replace(memory, config=config)
            loss = _loss(other, cases, sequences, split)
            if loss < lowest:
                memory, lowest = other, loss
    chosen = ", ".join(f"{dial} {getattr(memory.config, dial)}" for dial in ("max_lag", "window", "decay"))
    log.info("Memory: %s (loss on validation targets %.4f, as given %.4f)", chosen, lowest, first)
    return memory


@torch.no_grad()
def _recalled(memory: TransitionMemory, cases: Cases, sequences: Sequences, split: Split) -> Float[Tensor, "B C"]:
    """The memory's term at the cases' candidates."""
    columns, found = cases.evidence.columns, []
    assert columns is not None
    block = block_users(memory.matrix.shape[0])
    for start in range(0, len(cases.users), block):
        users = cases.users[start : start + block]
        histories = sequences.windows(users, split.valid_at[users], memory.config.window)
        recalled = torch.from_numpy(memory.recall(histories).toarray())
        found.append(recalled.gather(1, columns[start : start + block]))
    return log_scaled(torch.cat(found))


def _loss(memory: TransitionMemory, cases: Cases, sequences: Sequences, split: Split) -> float:
    """Mean loss of a plugin without a backbone, fitted with this memory on the cases' candidates."""
    terms = (_recalled(memory, cases, sequences, split), *cases.evidence.terms[1:])
    cases = replace(cases, evidence=replace(cases.evidence, terms=terms))
    space, everyone = LogitSpace(len(terms), backbone=False), np.arange(len(cases.users))
    theta = fit(space, cases, everyone, space.start(), ridge=0.0)
    return float(sum_of_losses(space, cases, theta, everyone)) / len(everyone)
