"""Calls of a node at once, in several processes, where the machine has room and they take long enough."""

from contextlib import ExitStack
from typing import Any

import torch

from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.calls import Calls, in_turn
from pinet_kedro.evidence import block_users
from pinet_kedro.pipelines.backbone_training.spread import cores
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.processes.beside import Several, beside
from pinet_kedro.training.memory import free_bytes, plugin_needs

# What a process must have to do, since it takes 5 s to start: about 15 s each.
_CANDIDATES, _SCORES = 5_000_000, 1_000_000_000
# A process with torch, models and the scores of a block of users.
_BYTES = 2**30


def at_once(processes: int, calls: Calls) -> list[Any]:
    """The results of the calls, in order, from so many processes; with one, from this one.

    This process only waits, so it knows at once if one of them ends early, and raises `EndedError`.
    """
    count = min(processes, len(calls))
    if count < 2:
        return in_turn(calls)
    with ExitStack() as stack:
        threads = torch.get_num_threads()
        shares = [stack.enter_context(beside(_make, calls[n::count], threads)) for n in range(count)]
        Several(shares).result()
        found = [share.result() for share in shares]
    return [found[n % count][n // count] for n in range(len(calls))]


def _make(calls: Calls, threads: int, send: Any) -> list[Any]:  # noqa: ARG001
    torch.set_num_threads(threads)  # as many round alike
    return in_turn(calls)


def processes_for_fits(dataset: Dataset, config: PluginTraining, fits: int) -> int:
    """How many processes share so many fits of plugins to all validation targets."""
    users = len(dataset.validation_users)
    candidates = fits * users * (1 + config.hard_candidates + config.random_candidates)
    needs = plugin_needs(config, dataset.n_items, users, min(users, block_users(dataset.n_items)))
    return _room(candidates // _CANDIDATES, sum(need.bytes for need in needs))


def processes_for_ranks(dataset: Dataset, models: int) -> int:
    """How many processes share the ranking of all test targets by so many models."""
    return _room(models * len(dataset.test_users) * dataset.n_items // _SCORES)


def _room(shares: int, needed: float = 0.0) -> int:
    """So many processes, unless cores or memory (each needs so many bytes) suffice for fewer."""
    return max(1, min(shares, cores() // torch.get_num_threads(), int(free_bytes() // (_BYTES + needed))))
