"""Rank of each held-out target in the whole catalogue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split

# Scores (floats) and users in memory at a time.
_BLOCK_SCORES = 2**24
_BLOCK_USERS = 1024


class Scorer(Protocol):
    """Anything that scores the whole catalogue for a batch of histories."""

    @property
    def history_length(self) -> int:
        """Newest events of a history that matter."""
        ...

    @property
    def n_items(self) -> int:
        """I, the size of the catalogue."""
        ...

    def scores(self, histories: Int[Tensor, "B L"], activeness: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:
        """Logits of items 1..I after left-padded histories of users with so many training events."""
        ...


@dataclass(frozen=True)
class Ranks:
    """Rank of each user's target (1 = best; ties count half) among `candidates` items."""

    rank: Float[np.ndarray, " U"]
    candidates: Int[np.ndarray, " U"]


@torch.no_grad()
def target_ranks(
    scorer: Scorer,
    sequences: Sequences,
    users: Int[np.ndarray, " U"],
    target_at: Int[np.ndarray, " U"],
    activeness: Int[np.ndarray, " U"],
    watch: Callable[[Float[Tensor, "B I"]], None] | None = None,
) -> Ranks:
    """Ranks of the events at position `target_at` of these users, the events before it being the history.

    rank = 1 + #{j : s_j > s_t} + ½ #{j ≠ t : s_j = s_t} over the whole catalogue without the items in the history
    (the target itself always stays). Raises `FloatingPointError` on a score that is not finite: NaN compares false
    and would rank first. `watch` sees the scores of every block of users, those of items in the history being -inf.
    """
    ranks = np.empty(len(users))
    candidates = np.empty(len(users), np.int64)
    block = max(1, min(_BLOCK_USERS, _BLOCK_SCORES // scorer.n_items))
    for start in range(0, len(users), block):
        part = slice(start, start + block)
        user, at = users[part], target_at[part]
        length = int(min(at.max(), scorer.history_length))
        histories = torch.from_numpy(sequences.windows(user, at, length))
        scores = scorer.scores(histories, activeness[part])
        if not torch.isfinite(scores.sum()):
            raise FloatingPointError(f"{type(scorer).__name__} gave a score that is not finite")
        target = torch.from_numpy(sequences.items[sequences.offsets[user] + at].astype(np.int64) - 1)[:, None]
        score = scores.gather(1, target)
        scores[seen_items(sequences, user, at)] = -torch.inf
        if watch is not None:
            watch(scores)
        scores.scatter_(1, target, score)
        better = (scores > score).sum(1)
        equal = (scores == score).sum(1) - 1
        ranks[part] = (1 + better + 0.5 * equal).numpy()
        candidates[part] = (scores > -torch.inf).sum(1).numpy()
    return Ranks(ranks, candidates)


def rank_models(models: Mapping[str, Scorer], sequences: Sequences, split: Split) -> pd.DataFrame:
    """Rank of every test target under every model, one row each: `model, user, rank, candidates`."""
    users = np.flatnonzero(split.test_at > 0)
    tables = []
    for name, model in models.items():
        ranks = target_ranks(model, sequences, users, split.test_at[users], split.train_end[users])
        tables.append(pd.DataFrame({"model": name, "user": users, "rank": ranks.rank, "candidates": ranks.candidates}))
    return pd.concat(tables, ignore_index=True)


def seen_items(sequences: Sequences, users: np.ndarray, ends: np.ndarray) -> tuple[Tensor, Tensor]:
    """Row of these users and column (0..I-1) of every item that stands before position `ends` of its user."""
    row = np.repeat(np.arange(len(users)), ends)
    within = np.arange(len(row)) - np.repeat(np.cumsum(ends) - ends, ends)
    items = sequences.items[np.repeat(sequences.offsets[users], ends) + within].astype(np.int64) - 1
    return torch.from_numpy(row), torch.from_numpy(items)
