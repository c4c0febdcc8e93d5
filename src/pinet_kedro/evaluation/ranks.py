"""Rank of each held-out target in the whole catalogue, and the items that are ranked first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pinet_kedro.asking import best_columns
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.calls import AtOnce, in_turn
from pinet_kedro.evidence import block_users
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.recommender import Recommender

CUT_OFF = 10  # of the headline and of the lists that are kept
TOP = [f"top_{place}" for place in range(1, CUT_OFF + 1)]


class Scorer(Protocol):
    """Anything that scores the whole catalogue for a batch of histories."""

    @property
    def history_length(self) -> int:
        """Number of newest events of a history that are used."""
        ...

    @property
    def n_items(self) -> int:
        """I, the size of the catalogue."""
        ...

    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:
        """Logits of items 1..I after left-padded histories; `lengths` also counts events before the window."""
        ...


@dataclass(frozen=True)
class Ranks:
    """Rank of each user's target (1 = best; ties count half) among `candidates` items.

    `top`: each user's first ten (numbers 1..I) as they are served, 0 where there are fewer; None if not asked for.
    """

    rank: Float[np.ndarray, " U"]
    candidates: Int[np.ndarray, " U"]
    top: Int[np.ndarray, "U K"] | None = None


def target_ranks(
    scorer: Scorer,
    sequences: Sequences,
    users: Int[np.ndarray, " U"],
    target_at: Int[np.ndarray, " U"],
    exclude_seen: bool,
    top: bool = False,
) -> Ranks:
    """Ranks of the events at position `target_at` of these users; the events before it are the history.

    rank = 1 + #{j : s_j > s_t} + ½ #{j ≠ t : s_j = s_t} over the whole catalogue; with `exclude_seen`, as in serving,
    without items of the history. Raises `ValueError` for a target that is then not a candidate (`split_sequences` makes
    no such target), and `FloatingPointError` for a score that is not finite: comparisons with NaN are false, so it
    would rank first. `top`: also the first ten items of every user.
    """
    [ranks] = _rank([scorer], sequences, users, target_at, exclude_seen, top)
    return ranks


def rank_models(
    models: Mapping[str, Scorer], dataset: Dataset, shares: int = 1, at_once: AtOnce = in_turn
) -> pd.DataFrame:
    """Rank of every test target for every model, one row each: `model, user, rank, candidates, top_1, …, top_10`.

    Users are ranked in `shares` calls for each family of models. Scores are computed for the same users together
    whatever the number of shares is, so the ranks are the same to the digit.
    """
    users = dataset.test_users
    families = [[(name, models[name]) for name in names] for names in _families(models)]
    divided = [_divided([model for _, model in family], dataset, shares) for family in families]
    calls = [
        partial(_rank_share, [model for _, model in family], dataset, places)
        for family, of_family in zip(families, divided, strict=True)
        for places in of_family
    ]
    found = iter(at_once(calls))
    ranked: dict[str, Ranks] = {}
    for family, of_family in zip(families, divided, strict=True):
        order = np.argsort(np.concatenate(of_family))
        parts = zip(*(next(found) for _ in of_family), strict=True)
        ranked |= {name: _joined(part, order) for (name, _), part in zip(family, parts, strict=True)}
    tables = [
        pd.DataFrame(
            {"model": name, "user": users, "rank": of.rank, "candidates": of.candidates}
            | dict(zip(TOP, lists_of(of).T, strict=True))
        )
        for name, of in ((name, ranked[name]) for name in models)
    ]
    return pd.concat(tables, ignore_index=True)


def _divided(family: list[Scorer], dataset: Dataset, shares: int) -> list[Int[np.ndarray, " S"]]:
    """Places of test users in `shares` parts, each with every so many of the blocks in which users are ranked."""
    order = _by_length(family, dataset.split.test_at[dataset.test_users])
    block = block_users(family[0].n_items)
    blocks = np.split(order, range(block, len(order), block))
    return [np.concatenate(part) for part in (blocks[share::shares] for share in range(shares)) if part]


def _rank_share(family: list[Scorer], dataset: Dataset, places: Int[np.ndarray, " S"]) -> list[Ranks]:
    """The ranks of the test users at these places, with their lists."""
    split, users = dataset.split, dataset.test_users[places]
    return _rank(family, dataset.sequences, users, split.test_at[users], split.exclude_seen, top=True)


def _joined(parts: Sequence[Ranks], order: Int[np.ndarray, " U"]) -> Ranks:
    """The ranks of all parts in this order."""
    return Ranks(
        np.concatenate([part.rank for part in parts])[order],
        np.concatenate([part.candidates for part in parts])[order],
        np.concatenate([lists_of(part) for part in parts])[order],
    )


def ranks_of(table: pd.DataFrame) -> Ranks:
    """The ranks in rows of `rank_models`. `top` is None where the table has no lists."""
    top = table[TOP].to_numpy() if set(TOP) <= set(table.columns) else None
    return Ranks(table["rank"].to_numpy(), table["candidates"].to_numpy(), top)


def lists_of(ranks: Ranks) -> Int[np.ndarray, "U K"]:
    """The lists of these ranks. Raises `InputError` where they have none."""
    if ranks.top is None:
        raise InputError(
            "the stored ranks have no lists of first items (columns top_1, …, top_10): an earlier version made them. "
            "Make them again, with kedro run --pipeline=evaluation or --pipeline=benchmark."
        )
    return ranks.top


def _families(models: Mapping[str, Scorer]) -> list[list[str]]:
    """Names of the models, grouped by equal evidence, which is then gathered once per group."""
    families: list[list[str]] = []
    for name, model in models.items():
        for family in families:
            if all(_share_evidence(model, models[other]) for other in family):
                family.append(name)
                break
        else:
            families.append([name])
    return families


def _share_evidence(one: Scorer, other: Scorer) -> bool:
    return isinstance(one, Recommender) and isinstance(other, Recommender) and one.shares_evidence(other)


@torch.no_grad()
def _rank(
    family: list[Scorer],
    sequences: Sequences,
    users: Int[np.ndarray, " U"],
    target_at: Int[np.ndarray, " U"],
    exclude_seen: bool,
    top: bool = False,
) -> list[Ranks]:
    """`target_ranks` of one model, or of several with the same evidence."""
    ranks, candidates = np.empty((len(family), len(users))), np.empty((len(family), len(users)), np.int64)
    first = np.zeros((len(family), len(users), CUT_OFF), np.int32) if top else None
    history_length = max(scorer.history_length for scorer in family)
    block = block_users(family[0].n_items)
    order = _by_length(family, target_at)
    for start in range(0, len(users), block):
        part = order[start : start + block]
        user, at = users[part], target_at[part]
        histories = torch.from_numpy(sequences.windows(user, at, int(min(at.max(), history_length))))
        target = torch.from_numpy(sequences.items[sequences.offsets[user] + at].astype(np.int64) - 1)[:, None]
        seen = seen_items(sequences, user, at) if exclude_seen else None
        for row, scores in enumerate(_scores(family, histories, at)):
            if not torch.isfinite(scores.sum()):
                raise FloatingPointError(f"{type(family[row]).__name__} gave a score that is not finite")
            if seen is not None:
                scores[seen] = -torch.inf
            score = scores.gather(1, target)
            if torch.isinf(score).any():
                raise ValueError("a target is an item of its history, which exclude_seen never recommends")
            if first is not None:
                best, columns = best_columns(scores, CUT_OFF)
                items = torch.where(best > -torch.inf, columns + 1, 0)
                first[row, part, : items.shape[1]] = items.numpy()
            # Counted with numpy: torch first converts booleans to 64-bit integers, which takes seven times as long.
            values, value = scores.numpy(), score.numpy()
            better, equal = _count(values > value), _count(values == value) - 1
            ranks[row, part] = 1 + better + 0.5 * equal
            candidates[row, part] = _count(values > -np.inf)
    lists = [None] * len(family) if first is None else first
    return [Ranks(*of) for of in zip(ranks, candidates, lists, strict=True)]


def _by_length(family: list[Scorer], target_at: Int[np.ndarray, " U"]) -> Int[np.ndarray, " U"]:
    """The order in which users are ranked: a block is padded to its longest history, and has some of similar length."""
    longest = max(scorer.history_length for scorer in family)
    return np.argsort(np.minimum(target_at, longest), kind="stable")


def _scores(family: list[Scorer], histories: Tensor, lengths: np.ndarray) -> Iterator[Tensor]:
    models = [scorer for scorer in family if isinstance(scorer, Recommender)]
    if len(models) < 2:
        yield from (scorer.scores(histories, lengths) for scorer in family)
        return
    evidence = max(models, key=lambda model: model.plugins is not None).evidence(histories)
    yield from (model.scores(histories, lengths, evidence) for model in models)


def _count(true: Bool[np.ndarray, "B I"]) -> Int[np.ndarray, " B"]:
    return np.count_nonzero(true, axis=1)


def seen_items(sequences: Sequences, users: np.ndarray, ends: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows (of `users`) and columns (0..I-1) of all items before position `ends` of each user's history."""
    row = np.repeat(np.arange(len(users)), ends)
    within = np.arange(len(row)) - np.repeat(np.cumsum(ends) - ends, ends)
    items = sequences.items[np.repeat(sequences.offsets[users], ends) + within].astype(np.int64) - 1
    return torch.from_numpy(row), torch.from_numpy(items)
