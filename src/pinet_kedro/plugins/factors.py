"""Matrix factorisation of implicit feedback: a score that ignores the order of events."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from pinet_kedro.dataset import Dataset
from pinet_kedro.plugins.config import FactorsConfig
from pinet_kedro.plugins.frozen_scorer import FrozenScorer, log_scaled


@dataclass(frozen=True)
class ImplicitFactors(FrozenScorer):
    """Item factors Y of alternating least squares (Hu, Koren and Volinsky, ICDM 2008), with factors of a user computed
    from the history:

        x_u = argmin_x Σ_{j ∈ u} c (1 − x·y_j)² + Σ_{j ∉ u} (x·y_j)² + λ ‖x‖²
            = (YᵀY + (c − 1) Σ_{j ∈ u} y_j y_jᵀ + λ 1)⁻¹ c Σ_{j ∈ u} y_j,

    where u is the set of a user's newest items.
    """

    Config: ClassVar = FactorsConfig

    items: Float[Tensor, "I F"]
    config: FactorsConfig

    @property
    def history_length(self) -> int:
        """The window."""
        return self.config.window

    @classmethod
    def fit(cls, dataset: Dataset, config: FactorsConfig) -> Self:
        """Factors from the training part."""
        return cls(_fit_items(dataset, config), config)

    def term(self, histories: Int[np.ndarray, "B L"]) -> Float[Tensor, "B I"]:
        """log(1 + 20 max(x_u · y_j, 0))."""
        return log_scaled(self.affinity(histories).clamp_(min=0))

    def term_at(self, histories: Int[np.ndarray, "B L"], columns: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """As `term`, computed for these columns alone."""
        affinity = torch.einsum("bf,bcf->bc", self.users(histories), self.items[columns])
        return log_scaled(affinity.clamp_(min=0))

    def tensors(self) -> dict[str, Tensor]:
        """Y."""
        return {"items": self.items}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor], config: FactorsConfig) -> Self:
        """The factors that `tensors` gave."""
        return cls(tensors["items"], config)

    @cached_property
    def _everyone(self) -> Float[Tensor, "F F"]:
        """YᵀY + λ 1: most of the work for a single user, and the same for all."""
        return self.items.T @ self.items + self.config.regularization * torch.eye(self.items.shape[1])

    def affinity(self, histories: Int[np.ndarray, "B L"]) -> Float[Tensor, "B I"]:
        """x_u · y_j for left-padded histories; 0 for an empty one."""
        return self.users(histories) @ self.items.T

    def users(self, histories: Int[np.ndarray, "B L"]) -> Float[Tensor, "B F"]:
        """x_u for left-padded histories; 0 for an empty one."""
        newest = np.sort(histories[:, -self.config.window :], axis=1)
        once = (newest != 0) & np.diff(newest, prepend=0, axis=1).astype(bool)
        liked = self.items[torch.from_numpy(np.maximum(newest, 1) - 1)] * torch.from_numpy(once)[:, :, None]
        system = self._everyone + (self.config.confidence - 1) * (liked.mT @ liked)
        return torch.linalg.solve(system, self.config.confidence * liked.sum(1))


def _fit_items(dataset: Dataset, config: FactorsConfig) -> Float[Tensor, "I F"]:
    """Y from the training part; repeated items of a user count once. The result is the same in every run.

    It is computed from the items with events; that of one without is 0, as its solution is.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    user, item = dataset.split.training_pairs(dataset.sequences)
    shape = (dataset.n_users, dataset.logged.n_items)
    liked = sparse.csr_matrix((np.ones(len(item), np.float32), (user, item)), shape=shape)
    liked.data[:] = 1  # the matrix has summed repeated items
    # The library has its own threads and becomes slow if BLAS adds more.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            config.factors, config.regularization, config.confidence,
            iterations=config.iterations, num_threads=torch.get_num_threads(), random_state=config.seed,
        )  # fmt: skip
        model.fit(liked, show_progress=False)
    found = torch.from_numpy(np.asarray(model.item_factors))
    return torch.nn.functional.pad(found, (0, 0, 0, dataset.n_items - len(found)))
