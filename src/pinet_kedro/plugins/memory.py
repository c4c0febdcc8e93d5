"""What items follow which: a sparse transition memory."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.plugins.config import MemoryConfig


@dataclass(frozen=True)
class TransitionMemory:
    """M = C^-½ N C^-½ over items 1..I, sparse, with N_ij = Σ_k k^-e #{i, then j, k events later} + ρ Nᵀ and
    C = count + 1; read with r_u, the newest items of a user weighted decay^age."""

    matrix: sparse.csr_array
    config: MemoryConfig

    def recall(self, histories: Int[np.ndarray, "B L"]) -> Float[np.ndarray, "B I"]:
        """(r_u M)_j for left-padded histories, dense."""
        newest = histories[:, -self.config.window :]
        weight = self.config.decay ** np.arange(newest.shape[1])[::-1]
        row, column = np.nonzero(newest)
        shape = (len(newest), self.matrix.shape[0])
        r = sparse.csr_array((weight[column].astype(np.float32), (row, newest[row, column] - 1)), shape=shape)
        return (r @ self.matrix).toarray()


def build_memory(sequences: Sequences, split: Split, n_items: int, config: MemoryConfig) -> TransitionMemory:
    """The memory of the training part; `n_items` = I."""
    user, items = split.training_pairs(sequences)
    n = sparse.csr_array((n_items, n_items), dtype=np.float64)
    for lag in range(1, config.max_lag + 1):
        same = user[lag:] == user[:-lag]
        earlier, later = items[:-lag][same], items[lag:][same]
        weight = np.full(len(earlier), lag**-config.lag_exponent)
        n = n + sparse.csr_array((weight, (earlier, later)), shape=n.shape)
    n = n + config.reverse * n.T
    scale = sparse.diags_array((np.bincount(items, minlength=n_items) + 1.0) ** -0.5)
    matrix = (scale @ n @ scale).tocsr().astype(np.float32)
    matrix.sort_indices()
    return TransitionMemory(matrix, config)
