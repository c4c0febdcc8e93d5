"""The categories of items: to filter what is recommended, and to spread a list over them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy import sparse

from pinet_kedro.errors import InputError

_SEARCHED = 2000  # names: comparing a text with more of them takes longer than an answer
_NAMED = 3  # in a message


@dataclass(frozen=True)
class ItemCategories:
    """C categories of items 1..I: `matrix[j - 1, c]` is 1 where item j has category c, and not stored elsewhere."""

    names: tuple[str, ...]
    matrix: sparse.csr_array

    @classmethod
    def of(cls, item_ids: np.ndarray, items: pd.DataFrame) -> "ItemCategories | None":
        """Those of these items, from a table with `item_id` and `categories` (lists); None if no item has any."""
        if "categories" not in items:
            return None
        lists = items.set_index("item_id")["categories"].reindex(item_ids.astype(str))
        entries = lists.reset_index(drop=True).explode().dropna()
        if entries.empty:
            return None
        numbers, names = pd.factorize(entries.astype(str), sort=True)
        shape = (len(item_ids), len(names))
        matrix = sparse.csr_array((np.ones(len(entries), np.float32), (entries.index.to_numpy(), numbers)), shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1  # an item that lists a category twice has it once
        return cls(tuple(map(str, names)), matrix)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _by_category(self) -> sparse.csc_array:
        return self.matrix.tocsc()

    def columns(self, names: Sequence[str], field: str) -> Int[np.ndarray, " A"]:
        """Columns (0..I-1) of the items with at least one of these categories, ascending.

        Raises `InputError` for an unknown name, whose `field` it names: a misspelt category would filter everything, or
        nothing, in silence.
        """
        numbers = [self._numbered(name, field) for name in dict.fromkeys(names)]
        bounds, items = self._by_category.indptr, self._by_category.indices
        found = [items[bounds[c] : bounds[c + 1]] for c in numbers]
        return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)

    def distinct(self, columns: Int[np.ndarray, " K"]) -> int:
        """Number of categories that at least one of these items has."""
        return len(np.unique(self.matrix[columns].indices))

    def spread(
        self, scores: Float[np.ndarray, " I"], columns: Int[np.ndarray, " K"], least: int
    ) -> Int[np.ndarray, " K"]:
        """The columns (the best first), with items replaced until they have `least` distinct categories, if possible.

        In each step, the item leaves whose leaving loses the fewest categories, of equal ones the lowest-scored. The
        best-scored item with more new categories than are lost takes its place; of equal scores, that of the lower
        column. Items with the score -inf are not recommended. It ends when no item would add a category.

        Replacing the item that adds least to diversity by the next best-scored one is the algorithm Swap of Yu,
        Lakshmanan and Amer-Yahia, *It Takes Variety to Make a World* (EDBT 2009); here diversity is the number of
        categories. At most `least` steps, each a product of the sparse matrix with a vector.
        """
        columns = columns[np.isfinite(scores[columns])]
        while True:
            own = self.matrix[columns]
            held = np.bincount(own.indices, minlength=len(self.names))
            if np.count_nonzero(held) >= least:
                return columns
            losses = own @ (held == 1).astype(np.float32)
            gains = self.matrix @ (held == 0).astype(np.float32)
            candidates = np.flatnonzero((gains > losses.min(initial=np.inf)) & np.isfinite(scores))
            if len(candidates) == 0:
                return columns
            leaving = np.flatnonzero(losses == losses.min())[-1]
            entering = candidates[scores[candidates].argmax()]
            columns = np.append(np.delete(columns, leaving), entering)
            columns = columns[np.lexsort((columns, -scores[columns]))]

    @property
    def sha256(self) -> str:
        """Hash of the names and of the categories of every item."""
        arrays = [values.tobytes() for values in self.arrays().values()]
        return hashlib.sha256(b"".join(["\n".join(self.names).encode(), *arrays])).hexdigest()

    def arrays(self) -> dict[str, Int[np.ndarray, " N"]]:
        """The matrix as int32 arrays by name; `restore` makes the categories of them, and of the names."""
        index = {"indices": self.matrix.indices, "indptr": self.matrix.indptr}
        return {f"item_categories.{name}": values.astype(np.int32) for name, values in index.items()}

    @classmethod
    def restore(cls, arrays: Mapping[str, ArrayLike], names: list[str]) -> "ItemCategories":
        """The categories from their `arrays`, in whatever type they were stored, and `names`."""
        indices, indptr = (np.asarray(arrays[f"item_categories.{name}"]) for name in ("indices", "indptr"))
        shape = (len(indptr) - 1, len(names))
        return cls(tuple(names), sparse.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape))

    def _numbered(self, name: str, field: str) -> int:
        number = self._number.get(name)
        if number is not None:
            return number
        near = get_close_matches(name, self.names, _NAMED, 0.5) if len(self.names) <= _SEARCHED else []
        shown = ", ".join(map(repr, near or self.names[:_NAMED]))
        raise InputError(
            f"{field}: no item of this model has the category {name[:60]!r}; "
            f"{'did you mean' if near else f'the {len(self.names):,} that it knows begin with'} {shown}"
            f"{'?' if near else '.'}"
        )
