"""Popularity of items, over all time and recently."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from pinet_kedro.dataset import Dataset
from pinet_kedro.interactions.sequences import Sequences


@dataclass(frozen=True)
class Popularity:
    """Events of items 1..I in all training histories (`counts`), and in each user's last two events (`recent`)."""

    counts: Int[np.ndarray, " I"]
    recent: Int[np.ndarray, " I"]

    @cached_property
    def log_popularity(self) -> Float[np.ndarray, " I"]:
        """log(pop_j + 1)."""
        return np.log(self.counts + 1.0).astype(np.float32)

    @cached_property
    def log_recency(self) -> Float[np.ndarray, " I"]:
        """log((rec_j + 1) / (pop_j + 2)): the share of an item's events that are among the last two of their users."""
        return np.log((self.recent + 1.0) / (self.counts + 2.0)).astype(np.float32)


def count_popularity(dataset: Dataset) -> Popularity:
    """Popularity in the training part of a dataset."""
    return count_events(dataset.sequences, dataset.split.train_end, dataset.n_items)


def count_events(sequences: Sequences, end: Int[np.ndarray, " U"], n_items: int) -> Popularity:
    """Popularity in the events `[0, end)` of every history."""
    counts, recent = np.zeros(n_items, np.int64), np.zeros(n_items, np.int64)
    for users, block in sequences.blocks():
        position, last = block.positions(), np.repeat(end[users], block.lengths)
        counts += np.bincount(block.items[position < last], minlength=n_items + 1)[1:]
        recent += np.bincount(block.items[(position >= last - 2) & (position < last)], minlength=n_items + 1)[1:]
    return Popularity(counts, recent)
