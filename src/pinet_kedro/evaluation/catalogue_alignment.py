"""Scorers over a given catalogue: models that were trained on another one, and popularity."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pinet_kedro.evaluation.ranks import Scorer
from pinet_kedro.plugins.popularity import Popularity
from pinet_kedro.recommender import Recommender


@dataclass(frozen=True)
class PopularityScorer:
    """log(pop_j + 1) for all users."""

    popularity: Popularity
    history_length: int = 1

    @property
    def n_items(self) -> int:
        return len(self.popularity.counts)

    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:  # noqa: ARG002
        return torch.from_numpy(self.popularity.log_popularity).repeat(len(histories), 1)


@dataclass(frozen=True)
class AlignedModel:
    """A recommender as a scorer of the catalogue `item_ids` (raw ids of items 1..I); it behaves as in serving.

    Events with items that the model does not know are skipped and do not count for routing. `longest` is the longest
    history: the model may need all of it to find enough known events. The scores have a column for each of the I items,
    then one for each of the J items that only the model knows, since these take places in its ranking too. Items that
    the model does not know are tied below all others.
    """

    model: Recommender
    item_ids: np.ndarray
    longest: int

    @cached_property
    def _own(self) -> Int[np.ndarray, " I+1"]:
        """The model's numbers of padding and items 1..I; 0 for unknown items."""
        numbers = {item: j for j, item in enumerate(self.model.item_ids.tolist(), 1)}
        return np.array([0, *(numbers.get(item, 0) for item in self.item_ids.tolist())], np.int64)

    @cached_property
    def _alone(self) -> Int[np.ndarray, " J"]:
        """Columns of the model's scores whose items are not among `item_ids`."""
        return np.setdiff1d(np.arange(self.model.n_items), self._own[1:] - 1)

    @property
    def known(self) -> Bool[np.ndarray, " I"]:
        """Whether the model knows item j."""
        return self._own[1:] > 0

    @property
    def history_length(self) -> int:
        return self.model.history_length if self.known.all() else max(self.longest, self.model.history_length)

    @property
    def n_items(self) -> int:
        return len(self.item_ids) + len(self._alone)

    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I+J"]:
        given = histories.numpy()
        own = self._own[given]
        skipped = ((given != 0) & (own == 0)).sum(1)
        own = np.take_along_axis(own, np.argsort(own != 0, axis=1, kind="stable"), axis=1)
        newest = torch.from_numpy(own[:, -self.model.history_length :])
        scores = self.model.scores(newest, np.maximum(lengths - skipped, 0))
        lowest = scores.min(1, keepdim=True).values - 1
        theirs = torch.where(torch.from_numpy(self.known), scores[:, np.maximum(self._own[1:] - 1, 0)], lowest)
        return torch.cat([theirs, scores[:, self._alone]], dim=1)


def align(model: Recommender, item_ids: np.ndarray, longest: int) -> tuple[Scorer, Bool[np.ndarray, " I"]]:
    """The model as a scorer of this catalogue, and which of the items it knows."""
    if np.array_equal(model.item_ids, item_ids):
        return model, np.ones(len(item_ids), bool)
    aligned = AlignedModel(model, item_ids, longest)
    return aligned, aligned.known
