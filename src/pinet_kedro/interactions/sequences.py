"""Chronological histories of all users in compressed-row arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from scipy import sparse

from pinet_kedro.interactions.codes import encode, repeated

_BLOCK_EVENTS = 2**22


@dataclass(frozen=True)
class Sequences:
    """Histories of U users with N events in all, one contiguous run per user, without padding.

    `items` (int32, N) and `timestamps` (int64, N) of user u are at `offsets[u]:offsets[u + 1]` (int64, U + 1), oldest
    first. The arrays may be memory-mapped.
    """

    items: Int[np.ndarray, " N"]
    timestamps: Int[np.ndarray, " N"]
    offsets: Int[np.ndarray, " U+1"]

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[np.ndarray, " U"]:
        return np.diff(self.offsets)

    def all_differ(self) -> bool:
        """Whether no user has an item twice at the same time. Only events at the time of a neighbour are compared."""
        same = self.timestamps[1:] == self.timestamps[:-1]
        same[self.offsets[1:-1] - 1] = False  # another user begins
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        begins = np.cumsum(~np.insert(same, 0, False)[tied])
        return not repeated([begins, self.items[tied]]).any()

    def windows(self, users: Int[np.ndarray, " B"], ends: Int[np.ndarray, " B"], length: int) -> Int[np.ndarray, "B L"]:
        """The newest `length` items before position `ends` of each user's history (int64), left-padded with 0."""
        if len(self.items) == 0:
            return np.zeros((len(users), length), np.int64)
        at = (self.offsets[users] + ends)[:, None] + np.arange(-length, 0)
        inside = at >= self.offsets[users][:, None]
        return np.where(inside, self.items[np.where(inside, at, 0)], 0).astype(np.int64)

    def positions(self) -> Int[np.ndarray, " N"]:
        """Position of every event in its user's history."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)

    def blocks(self, events: int = _BLOCK_EVENTS) -> Iterator[tuple[slice, "Sequences"]]:
        """Runs of users with about so many events in all, and their sequences: for arrays larger than memory."""
        for first, last in user_runs(self.offsets, events):
            begin = int(self.offsets[first])
            run = slice(begin, int(self.offsets[last]))
            block = Sequences(self.items[run], self.timestamps[run], self.offsets[first : last + 1] - begin)
            yield slice(first, last), block

    def between(self, start: Int[np.ndarray, " U"], end: Int[np.ndarray, " U"]) -> "Sequences":
        """The events at positions `[start, end)` of every history."""
        position, lengths = self.positions(), self.lengths
        inside = (position >= np.repeat(start, lengths)) & (position < np.repeat(end, lengths))
        return self.where(inside)

    def where(self, kept: Bool[np.ndarray, " N"]) -> "Sequences":
        """The same users with these events only."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return Sequences(self.items[kept], self.timestamps[kept], before[self.offsets])


def user_runs(offsets: Int[np.ndarray, " U+1"], events: int) -> Iterator[tuple[int, int]]:
    """Runs [first, last) of users with about so many events in all, at least one user each."""
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + events, side="right")) - 1)
        yield first, last
        first = last


# Sequences, raw ids of users 0..U-1 and raw ids of items 1..I.
Indexed = tuple[Sequences, pd.Index, pd.Index]


def build_sequences(events: pd.DataFrame) -> Indexed:
    """Sequences of clean events, raw ids of users 0..U-1 and raw ids of items 1..I (both sorted as strings)."""
    user, user_ids = _sorted(events["user_id"])
    item, item_ids = _sorted(events["item_id"])
    timestamp = events["timestamp"].to_numpy(np.int64)
    by_time = np.argsort(timestamp, kind="stable")
    # A stable counting sort by user: a compressed-row matrix keeps the order in which its rows are filled.
    filled = np.ones(len(user), np.bool_), (user[by_time], np.arange(len(user)))
    runs = sparse.csr_array(filled, shape=(len(user_ids), len(user)))
    order, offsets = by_time[runs.indices], runs.indptr.astype(np.int64)
    sequences = Sequences(items=item[order] + np.int32(1), timestamps=timestamp[order], offsets=offsets)
    return sequences, user_ids, item_ids


def _sorted(ids: pd.Series) -> tuple[Int[np.ndarray, " N"], pd.Index]:
    """The place of every id among the sorted distinct ids, and the sorted distinct ids."""
    number, distinct = encode(ids)
    order = distinct.argsort()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    return place[number], pd.Index(distinct[order])
