"""Categories: how well an item without a history of its own fits the categories of a user's history."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from pinet_kedro.dataset import Dataset
from pinet_kedro.plugins.config import CategoriesConfig
from pinet_kedro.plugins.frozen_scorer import FrozenScorer
from pinet_kedro.plugins.popularity import Popularity


@dataclass(frozen=True)
class CategoryProfile(FrozenScorer):
    """The log-odds of an item's categories A_j in a user's history against all events, for items with few events:

        φ_uj = c / (c + n_j) · 1/|A_j| Σ_{g ∈ A_j} log( (k_ug + m p_g) / ((k_u + m) p_g) ),

    where k_u are the newest events of a user with an item that has categories, k_ug those with category g, p_g is the
    same share over all training events, and n_j the number of training events of item j.

    It is the naive Bayes profile of content-based recommendation (Pazzani and Billsus, Machine Learning 27, 1997), with
    the shares of a user shrunk towards those of all by m events (the m-estimate of Cestnik, ECAI 1990), and with the
    mean over categories in place of the sum, since categories overlap. The factor c / (c + n_j) leaves an item to the
    other scorers as soon as they know it: it is 1 without training events, ½ with c, and near 0 with many. An item or a
    history without categories has the score 0.

    On MovieLens-100k no gain is shown, and items with events lose a little (README, cold items): it is off by default.
    """

    Config: ClassVar = CategoriesConfig

    categories: sparse.csr_array  # ones [I, G]
    counts: Int[np.ndarray, " I"]
    config: CategoriesConfig

    @property
    def history_length(self) -> int:
        """The window."""
        return self.config.window

    @classmethod
    def fit(cls, dataset: Dataset, config: CategoriesConfig) -> Self | None:
        """Categories and training events of the items; None if no item has a category."""
        if dataset.categories is None:
            return None
        return cls(dataset.categories, dataset.split.item_counts(dataset.sequences, dataset.n_items), config)

    def counted(self, popularity: Popularity) -> Self:
        """The same categories with these numbers of events."""
        return replace(self, counts=popularity.counts)

    def term(self, histories: Int[np.ndarray, "B L"]) -> Float[Tensor, "B I"]:
        """φ for left-padded histories."""
        newest = histories[:, -self.config.window :]
        row, column = np.nonzero(newest)
        ones = np.ones(len(row), np.float32)
        events = sparse.csr_array((ones, (row, newest[row, column] - 1)), (len(newest), len(self.counts)))
        shrinkage, known = self.config.shrinkage, events @ (np.diff(self.categories.indptr) > 0)
        taste = (events @ self.categories).toarray() + shrinkage * self._share
        odds = np.log(taste / ((known[:, None] + shrinkage) * self._share))
        return torch.from_numpy((odds @ self._parts).astype(np.float32))

    @cached_property
    def _share(self) -> Float[np.ndarray, " G"]:
        """p: of the events with categories; one that no training event has counts as one with a single event."""
        events = self.counts @ self.categories
        return np.maximum(events, 1) / max(self.counts[np.diff(self.categories.indptr) > 0].sum(), 1)

    @cached_property
    def _parts(self) -> sparse.csr_array:
        """c / (c + n_j) / |A_j| where item j has category g, `[G, I]`."""
        coldness = self.config.coldness / (self.config.coldness + self.counts)
        weight = coldness / np.maximum(np.diff(self.categories.indptr), 1)
        return (self.categories * weight[:, None]).T.tocsr()

    def tensors(self) -> dict[str, Tensor]:
        """The categories in compressed rows, and the numbers of events."""
        return {
            "indices": torch.from_numpy(self.categories.indices.astype(np.int32)),
            "indptr": torch.from_numpy(self.categories.indptr.astype(np.int64)),
            "counts": torch.from_numpy(self.counts),
        }

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], config: CategoriesConfig) -> Self:
        """The scorer that `tensors` gave."""
        indices, indptr, counts = (tensors[name].numpy() for name in ("indices", "indptr", "counts"))
        shape = len(counts), int(indices.max(initial=-1)) + 1
        return cls(sparse.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape), counts, config)
