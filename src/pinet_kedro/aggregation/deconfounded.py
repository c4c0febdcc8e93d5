"""Deconfounded gradient aggregation with a consensus of the strata: an update of the backbone (arXiv 2208.09130).

The paper's abstract gives no formula. The public code of its first author (github.com/HelloZicky/Persona,
`module/gradient_aggregation`) computes in every step, per parameter tensor, from the gradients g_a of strata a = 1..G

    K = {a : cos(g_a, mean_b g_b) > 0},    w = softmax_{a ∈ K}( Σ_{b ∈ K} cos(g_a, g_b) ),    g = Σ_{a ∈ K} w_a g_a.

Ours adds a prior p of the strata (backdoor adjustment, `priors.py`), a temperature τ, and moving averages m_a of the
gradients, because the gradients of a single step are too noisy to agree or to oppose:

    m_a ← β m_a + (1 − β) g_a,    m̄ = Σ_b p_b m_b,    K = {a : m_a · m̄ > 0}  (all strata, if it is empty),

    w_a = p_a · 1[a ∈ K] · exp( (1/τ) Σ_{b ∈ K} cos(m_a, m_b) ) / Σ_c (the same for c),    g = Σ_a w_a g_a.

The averages determine only the weights; the gradients of the step itself are summed. With p uniform, τ = 1 and β = 0,
per tensor and with the gate, this is the formula of the public code (`consensus.py`). Without the gate, K is all
strata; if also τ → ∞, w = p: plain backdoor adjustment. That is the default (`rule: backdoor`), because validation
targets prefer it. A gradient of zero has cosine 0 to all.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchjd import Stateful
from torchjd.aggregation import Aggregator, Weighting

from pinet_kedro.aggregation.columns import nobody
from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.aggregation.moving_average import MovingAverage


class DeconfoundedWeighting(Weighting):
    """The weights w from the Gramian of the (averaged) gradients; a `Weighting` in torchjd's sense.

    Takes one Gramian `[G, G]`, or a batch `[..., G, G]` with one for each parameter tensor. `prior` may be set before
    every step (None: uniform). A temperature of None means τ → ∞.
    """

    def __init__(
        self, prior: Float[Tensor, " G"] | None = None, temperature: float | None = 1.0, gate: bool = True
    ) -> None:
        super().__init__()
        self.prior = prior
        self.temperature = temperature
        self.gate = gate

    @torch.no_grad()
    def forward(self, gramian: Float[Tensor, "*T G G"], /) -> Float[Tensor, "*T G"]:
        groups = gramian.shape[-1]
        p = gramian.new_full((groups,), 1 / groups) if self.prior is None else self.prior.to(gramian)
        kept = torch.ones(gramian.shape[:-1], dtype=torch.bool, device=gramian.device)
        if self.gate:
            agrees = gramian @ p > 0
            kept = agrees | ~agrees.any(-1, keepdim=True)
        weights = p * kept
        if self.temperature is not None:
            norm = gramian.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
            scale = norm[..., :, None] * norm[..., None, :]
            cosine = torch.where(scale > 0, gramian / scale, 0.0).clamp(-1, 1)
            consensus = (cosine * kept[..., None, :]).sum(-1) / self.temperature
            # Without this, a dropped stratum could have the highest consensus and make the kept weights underflow.
            consensus = consensus.masked_fill(~kept, -torch.inf)
            weights = weights * (consensus - consensus.amax(-1, keepdim=True)).exp()
        return weights / weights.sum(-1, keepdim=True)


class Deconfounded(Aggregator, Stateful):
    """g = Σ_a w_a g_a of the rows g_a, with `DeconfoundedWeighting` of their moving averages m_a.

    `sizes` splits the columns into parameter tensors (None: one tensor). Each tensor has its own weights, unless the
    scope is global. `weights` `[T, G]` (`[1, G]`) are those of the last step.

    The last tensors may be item tables, whose rows have the widths `tables`. If `rows` is set before a step, the matrix
    has only these rows of every table; the gradients of all other rows are 0.

    Where several processes have a share of the columns of every tensor, and `sizes` and `tables` are those of the
    share, `add_up` replaces a tensor by its sum over all processes: the Gramian, of which each has a part.
    """

    def __init__(
        self,
        config: DeconfoundedConfig,
        sizes: list[int] | None = None,
        tables: list[int] | None = None,
        add_up: Callable[[Tensor], None] = nobody,
    ) -> None:
        super().__init__()
        self.weighting = DeconfoundedWeighting(temperature=config.temperature, gate=config.gate)
        self.config = config
        self.sizes = sizes
        self.tables = tables or []
        self._add_up = add_up
        self._whole_sizes = torch.tensor(sizes or [0])  # with the columns of all
        add_up(self._whole_sizes)
        self.rows: Int[Tensor, " R"] | None = None
        self.weights: Tensor | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets the moving averages."""
        self.averages = [MovingAverage(self.config.decay) for _ in self.sizes or [0]]

    def mean_weights(self) -> Float[Tensor, " G"]:
        """The last weights of the strata, averaged over all parameters `[G]`."""
        assert self.weights is not None, "no gradient has been aggregated yet"
        if len(self.weights) == 1:
            return self.weights[0]
        sizes = self._whole_sizes.to(self.weights)
        return (sizes / sizes.sum()) @ self.weights

    def columns(self, width: int) -> list[int]:
        """The number of columns of every parameter tensor, in a matrix of this width."""
        sizes = self.sizes or [width]
        if self.rows is None:
            return sizes
        return sizes[: len(sizes) - len(self.tables)] + [len(self.rows) * of_row for of_row in self.tables]

    @torch.no_grad()
    def forward(self, matrix: Float[Tensor, "G P"], /) -> Float[Tensor, " P"]:
        body = len(self.averages) - len(self.tables)
        blocks = matrix.split(self.columns(matrix.shape[1]), 1)
        gramian = torch.stack([self._update(k, block, k - body) for k, block in enumerate(blocks)])
        self._add_up(gramian)
        if self.config.scope == "global":
            gramian = gramian.sum(0, keepdim=True)
        self.weights = self.weighting(gramian)
        return torch.cat([w @ block for w, block in zip(self.weights.expand(len(blocks), -1), blocks, strict=True)])

    def _update(self, k: int, block: Float[Tensor, "G p"], table: int) -> Float[Tensor, "G G"]:
        if self.rows is None or self.sizes is None or table < 0:
            return self.averages[k].update(block)
        width = self.tables[table]
        return self.averages[k].update_rows(block.unflatten(1, (-1, width)), self.rows, self.sizes[k] // width)
