"""Popularity of items, over all time and recently."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from pinet_kedro.dataset import Dataset


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
    sequences, n_items = dataset.sequences, dataset.n_items
    position, end = sequences.positions(), np.repeat(dataset.split.train_end, sequences.lengths)
    newest = (position >= end - 2) & (position < end)
    recent = np.bincount(sequences.items[newest], minlength=n_items + 1)[1:]
    return Popularity(dataset.split.item_counts(sequences, n_items), recent)
