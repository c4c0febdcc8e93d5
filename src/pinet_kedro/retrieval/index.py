"""Approximate search for the items whose vectors have the largest inner products with a query."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from pinet_kedro.errors import InputError
from pinet_kedro.retrieval.config import NEEDS_FAISS

# Vectors for each cell that its centre is learnt from; more of them take longer and find nothing else.
_LEARNT_FROM = 64
# A search measures cells by the distance to their centres. Fewer cells than this are not worth it.
_FEWEST_CELLS = 16


@dataclass(frozen=True)
class ItemIndex:
    """Vectors of items 1..I in cells, of which a search reads the nearest: the inverted file of Faiss (Douze et al.,
    *The Faiss library*, 2024), with vectors in half precision.

    The largest inner product is the nearest neighbour after one more coordinate for each item, (Φ² − |x|²)^½ with
    Φ = max |x|, and 0 for a query (Bachrach et al., *Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces*, RecSys 2014). Without it, cells with long vectors take nearly all items.
    """

    index: Any  # faiss.IndexIVF

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "I D"], seed: int = 1) -> "ItemIndex":
        """The index of these vectors, with about 4 √I cells."""
        faiss = _faiss()
        length = np.einsum("id,id->i", vectors, vectors, dtype=np.float64)
        added = np.sqrt(np.maximum(length.max(initial=0) - length, 0))[:, None].astype(np.float32)
        points = np.ascontiguousarray(np.concatenate([vectors, added], axis=1))
        cells = max(min(int(4 * len(points) ** 0.5), len(points) // _LEARNT_FROM), _FEWEST_CELLS)
        cells = min(cells, len(points))  # Faiss learns no more centres than it has vectors
        index = faiss.index_factory(points.shape[1], f"IVF{cells},SQfp16", faiss.METRIC_L2)
        index.cp.max_points_per_centroid, index.cp.min_points_per_centroid, index.cp.seed = _LEARNT_FROM, 1, seed
        index.train(points)
        index.add(points)
        return cls(index)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.index.nlist)

    def search(self, queries: Float[np.ndarray, "B D"], n: int, probes: int) -> Int[np.ndarray, "B N"]:
        """Columns (0..I-1) of the n items with the largest inner products in the `probes` nearest cells; −1 where these
        have fewer items."""
        faiss = _faiss()
        faiss.omp_set_num_threads(torch.get_num_threads())  # its own default is every core
        points = np.pad(queries.astype(np.float32), ((0, 0), (0, 1)))
        return self.index.search(points, n, params=faiss.SearchParametersIVF(nprobe=min(probes, self.cells)))[1]

    def save(self, file: Path) -> None:
        """Writes the index."""
        faiss = _faiss()
        faiss.write_index(self.index, str(file))

    @classmethod
    def load(cls, file: Path) -> "ItemIndex":
        """The index that `save` wrote."""
        faiss = _faiss()
        return cls(faiss.read_index(str(file)))


def _faiss() -> Any:
    """The library, which only two-stage recommendation needs."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise InputError(NEEDS_FAISS) from error
    return faiss
