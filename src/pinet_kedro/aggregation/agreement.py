"""Agr-Sum and Agr-Rand: keep the coordinates on which all strata agree (Mansilla et al., ICCV 2021, arXiv 2108.01621).

Both work per coordinate, so strata have no weights. With rows g_a and A = {j : all sign(g_aj) are equal and not 0},

    out_j = Σ_a g_aj  for j ∈ A;    otherwise 0 (Agr-Sum), or a draw from N(0, m²), m = mean_{i ∈ A} |out_i| (Agr-Rand).

The scale m is from the authors' code (github.com/lucasmansilla/DGvGS). If A is empty, m is undefined there and 0 here.
As in that code, a coordinate that is 0 in every row counts as disagreement, so Agr-Rand changes it too, except for
items that are not among the rows of a step (`rules.Step.rows`, with a loss that draws items).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torchjd.aggregation import Aggregator


class AgrSum(Aggregator):
    """The sum of the rows where all signs agree, 0 elsewhere."""

    @torch.no_grad()
    def forward(self, matrix: Float[Tensor, "G P"], /) -> Float[Tensor, " P"]:
        return torch.where(_agreed(matrix), matrix.sum(0), 0.0)


class AgrRand(Aggregator):
    """The sum of the rows where all signs agree, random numbers from `rng` elsewhere (None: torch's own generator)."""

    def __init__(self, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self._rng = rng

    @torch.no_grad()
    def forward(self, matrix: Float[Tensor, "G P"], /) -> Float[Tensor, " P"]:
        agreed = _agreed(matrix)
        total = matrix.sum(0)
        scale = torch.where(agreed, total, 0.0).abs().sum() / agreed.sum().clamp(min=1)
        return torch.where(agreed, total, scale * torch.empty_like(total).normal_(generator=self._rng))


def _agreed(matrix: Float[Tensor, "G P"]) -> Tensor:
    return (matrix > 0).all(0) | (matrix < 0).all(0)
