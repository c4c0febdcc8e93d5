"""The consensus rule exactly as the public code of the paper's first author computes it.

The formula, from github.com/HelloZicky/Persona, is the first one in `deconfounded.py`: raw gradients of one step, no
prior, per parameter tensor. A variant there replaces the gradient of a tensor by noise, g_j ~ N(0, 1) / 100, where more
strata oppose the mean gradient than agree with it; here in the rows of the step alone, if it has only some items
(`rules.Step.rows`). The repository names no paper; that it belongs to this line of work
is our inference.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pinet_kedro.aggregation.columns import nobody
from pinet_kedro.aggregation.config import ConsensusConfig, DeconfoundedConfig
from pinet_kedro.aggregation.deconfounded import Deconfounded

_NOISE = 0.01


class Consensus(Deconfounded):
    """g of the rows g_a: `Deconfounded` with a uniform prior, τ = 1, the gate, and no moving average (β = 0)."""

    def __init__(
        self,
        config: ConsensusConfig,
        sizes: list[int] | None = None,
        tables: list[int] | None = None,
        rng: torch.Generator | None = None,
        add_up: Callable[[Tensor], None] = nobody,
    ) -> None:
        formula = DeconfoundedConfig(decay=0.0, temperature=1.0, gate=True, scope="tensor")
        super().__init__(formula, sizes, tables, add_up)
        self.opposed, self._rng = config.opposed, rng

    @torch.no_grad()
    def forward(self, matrix: Float[Tensor, "G P"], /) -> Float[Tensor, " P"]:
        gradient = super().forward(matrix)
        if self.opposed == "kept":
            return gradient
        assert self.weights is not None
        agreeing = (self.weights > 0).sum(1)
        parts = gradient.split(self.columns(matrix.shape[1]))
        return torch.cat(
            [
                torch.empty_like(part).normal_(generator=self._rng).mul_(_NOISE) if 2 * n < len(matrix) else part
                for part, n in zip(parts, agreeing.tolist(), strict=True)
            ]
        )
