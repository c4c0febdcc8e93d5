"""What a recommender is asked, in its own numbers, and what it answers, in raw ids."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch import Tensor

Cells = tuple[Int[Tensor, " H"], Int[Tensor, " H"]]  # pairs of rows (users of a call) and columns (0..I-1)


@dataclass(frozen=True)
class Asked:
    """Left-padded histories, and the numbers of known and unknown items of each.

    `hidden` and `only` are the items that are not, or alone, recommended: see `Recommender.best`.
    """

    padded: Int[Tensor, "B L"]
    lengths: Int[np.ndarray, " B"]
    unknown: list[int]
    hidden: Cells
    only: list[Int[Tensor, " A"] | None]


class Recommended(NamedTuple):
    """The best raw item ids for one history, and their scores, the best first.

    `stratum` is 'head' or 'tail'. `unknown_items`: number of items of the history that the model does not know.
    `fallback`: whether these are popular and recent items, because it knows none.
    """

    items: list[str]
    scores: list[float]
    stratum: str
    unknown_items: int
    fallback: bool
