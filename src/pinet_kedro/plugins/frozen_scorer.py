"""The interface of frozen scorers, and the scale that they share."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.configuration import Configuration
from pinet_kedro.dataset import Dataset
from pinet_kedro.plugins.popularity import Popularity


def log_scaled(scores: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """log(1 + 20 x), in place; a typical non-zero score x is a few hundredths."""
    return scores.mul_(20.0).log1p_()


class FrozenScorer(ABC):
    """Scores the catalogue without a backbone. It is fitted on training events; each plugin learns its weight."""

    Config: ClassVar[type[Configuration]]
    config: Any  # an instance of `Config`

    @property
    @abstractmethod
    def history_length(self) -> int:
        """Number of newest events of a history that the scorer uses."""

    @classmethod
    @abstractmethod
    def fit(cls, dataset: Dataset, config: Any) -> Self | None:
        """The scorer fitted on the training part of the dataset; None if that lacks what the scorer reads."""

    def counted(self, popularity: Popularity) -> Self:  # noqa: ARG002
        """The scorer after items have had these events, for one that only counts; the others stay as they are."""
        return self

    @abstractmethod
    def term(self, histories: Int[np.ndarray, "B L"]) -> Float[Tensor, "*B I"]:
        """Scores of items 1..I after left-padded histories; without the axis B if they are the same for all users."""

    def term_at(self, histories: Int[np.ndarray, "B L"], columns: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """`term` at these columns (0..I-1); a scorer that can compute these alone makes large catalogues faster."""
        term = self.term(histories)
        return term[columns] if term.dim() == 1 else term.gather(1, columns)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The fitted numbers by name, which are stored with the model."""

    @classmethod
    @abstractmethod
    def restore(cls, tensors: dict[str, Tensor], config: Any) -> Self:
        """The scorer from its `tensors` and `config`."""
