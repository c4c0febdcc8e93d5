"""Frozen scorers of the whole catalogue, whose scores the plugins combine with the backbone's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from pinet_kedro.plugins.categories import CategoryProfile
from pinet_kedro.plugins.config import MemoryConfig
from pinet_kedro.plugins.factors import ImplicitFactors
from pinet_kedro.plugins.frozen_scorer import FrozenScorer, log_scaled
from pinet_kedro.plugins.memory import TransitionMemory
from pinet_kedro.plugins.popularity import Popularity

# Scorers beside memory and popularity, by name. A new scorer is a file and a line here.
SCORERS: dict[str, type[FrozenScorer]] = {
    "factors": ImplicitFactors,
    "categories": CategoryProfile,
}


@dataclass(frozen=True)
class FrozenScorers:
    """Scorers fitted on training events; `others` are those of `SCORERS` that are configured."""

    memory: TransitionMemory
    others: dict[str, FrozenScorer]
    popularity: Popularity

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms, in order."""
        return "memory", *self.others, "popularity", "recency"

    @property
    def history_length(self) -> int:
        """Number of newest events of a history that the scorers use."""
        return max(self.memory.config.window, *(scorer.history_length for scorer in self.others.values()), 0)

    def terms(self, histories: Int[np.ndarray, "B L"]) -> tuple[Float[Tensor, "*B I"], ...]:
        """log(1 + 20 (r_u M)_j), the terms of the others, log(pop_j + 1) and log((rec_j + 1)/(pop_j + 2)) of items 1..I
        after left-padded histories. The last two are the same for all users."""
        recalled = self.memory.recall(histories)
        log_scaled(torch.from_numpy(recalled.data))  # entries that are not stored stay 0
        others = (scorer.term(histories) for scorer in self.others.values())
        items = self.popularity.log_popularity, self.popularity.log_recency
        return torch.from_numpy(recalled.toarray()), *others, *map(torch.from_numpy, items)

    def terms_at(
        self, histories: Int[np.ndarray, "B L"], columns: Int[Tensor, "B C"], recalled: sparse.csr_array
    ) -> tuple[Float[Tensor, "B C"], ...]:
        """`terms` at these columns (0..I-1) alone; `recalled` is what the memory recalls for the histories."""
        recalled.sort_indices()  # else looking entries up takes the time of a row for each
        row = np.arange(len(columns))[:, None].repeat(columns.shape[1], 1)
        memory = torch.from_numpy(np.asarray(recalled[row.ravel(), columns.numpy().ravel()]).reshape(row.shape))
        others = (scorer.term_at(histories, columns) for scorer in self.others.values())
        items = self.popularity.log_popularity, self.popularity.log_recency
        return log_scaled(memory), *others, *(torch.from_numpy(term)[columns] for term in items)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, without those of popularity."""
        matrix = self.memory.matrix
        found = {
            "memory.data": torch.from_numpy(matrix.data),
            "memory.indices": torch.from_numpy(matrix.indices.astype(np.int32)),
            "memory.indptr": torch.from_numpy(matrix.indptr.astype(np.int64)),
        }
        for name, scorer in self.others.items():
            found |= {f"{name}.{key}": value for key, value in scorer.tensors().items()}
        return found

    def configuration(self) -> dict[str, Any]:
        """Configurations of memory and the others, in the order of the terms, with the values that the search chose;
        null: no such scorer."""
        others = {name: scorer.config.model_dump(mode="json") for name, scorer in self.others.items()}
        absent = {} if "factors" in others else {"factors": None}
        return {"memory": self.memory.config.model_dump(mode="json"), **others, **absent}

    @classmethod
    def restore(
        cls, tensors: dict[str, Tensor], configuration: dict[str, Any], popularity: Popularity
    ) -> "FrozenScorers":
        """The scorers from their `tensors` and `configuration`."""
        n_items = len(popularity.counts)
        arrays = tuple(tensors[f"memory.{name}"].numpy() for name in ("data", "indices", "indptr"))
        matrix = sparse.csr_array(arrays, shape=(n_items, n_items))
        memory = TransitionMemory(matrix, MemoryConfig.model_validate(configuration["memory"]))
        others = {}
        # In the order in which plugins weigh them, which may be another one than that of `SCORERS` by now.
        for name, settings in configuration.items():
            if name != "memory" and settings is not None:
                own = {
                    key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
                }
                others[name] = SCORERS[name].restore(own, SCORERS[name].Config.model_validate(settings))
        return cls(memory, others, popularity)
