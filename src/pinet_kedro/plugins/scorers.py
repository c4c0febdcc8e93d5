"""Frozen scorers of the whole catalogue, whose scores the plugins combine with the backbone's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from pinet_kedro.plugins.config import FactorsConfig, MemoryConfig
from pinet_kedro.plugins.factors import ImplicitFactors
from pinet_kedro.plugins.memory import TransitionMemory
from pinet_kedro.plugins.popularity import Popularity


def log_scaled(scores: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """log(1 + 20 x), in place; a typical non-zero score x is a few hundredths."""
    return scores.mul_(20.0).log1p_()


@dataclass(frozen=True)
class FrozenScorers:
    """Scorers fitted on training events. A new scorer is a file, a name here, its term and its tensors."""

    memory: TransitionMemory
    factors: ImplicitFactors | None
    popularity: Popularity

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms, in order."""
        return "memory", *(("factors",) if self.factors else ()), "popularity", "recency"

    @property
    def history_length(self) -> int:
        """Number of newest events of a history that the scorers use."""
        return max(self.memory.config.window, self.factors.config.window if self.factors else 0)

    def terms(self, histories: Int[np.ndarray, "B L"]) -> tuple[Float[Tensor, "*B I"], ...]:
        """log(1 + 20 (r_u M)_j), log(1 + 20 max(x_u · y_j, 0)), log(pop_j + 1) and log((rec_j + 1)/(pop_j + 2)) of
        items 1..I after left-padded histories. The last two are the same for all users."""
        recalled = self.memory.recall(histories)
        log_scaled(torch.from_numpy(recalled.data))  # entries that are not stored stay 0
        scores = [torch.from_numpy(recalled.toarray())]
        if self.factors:
            scores.append(log_scaled(self.factors.affinity(histories).clamp_(min=0)))
        items = self.popularity.log_popularity, self.popularity.log_recency
        return *scores, *map(torch.from_numpy, items)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, without those of popularity."""
        matrix = self.memory.matrix
        found = {
            "memory.data": torch.from_numpy(matrix.data),
            "memory.indices": torch.from_numpy(matrix.indices.astype(np.int32)),
            "memory.indptr": torch.from_numpy(matrix.indptr.astype(np.int64)),
        }
        return found | ({"factors.items": self.factors.items} if self.factors else {})

    def configuration(self) -> dict[str, Any]:
        """Configurations of memory and factors, with the values that the search chose."""
        factors = self.factors.config.model_dump(mode="json") if self.factors else None
        return {"memory": self.memory.config.model_dump(mode="json"), "factors": factors}

    @classmethod
    def restore(
        cls, tensors: dict[str, Tensor], configuration: dict[str, Any], popularity: Popularity
    ) -> "FrozenScorers":
        """The scorers from their `tensors` and `configuration`."""
        n_items = len(popularity.counts)
        arrays = tuple(tensors[f"memory.{name}"].numpy() for name in ("data", "indices", "indptr"))
        matrix = sparse.csr_array(arrays, shape=(n_items, n_items))
        memory = TransitionMemory(matrix, MemoryConfig.model_validate(configuration["memory"]))
        factors = None
        if configuration["factors"]:
            factors = ImplicitFactors(tensors["factors.items"], FactorsConfig.model_validate(configuration["factors"]))
        return cls(memory, factors, popularity)
