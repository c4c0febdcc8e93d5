"""LRURec: a linear recurrent network over the items of a history (Yue et al., WSDM 2024, arXiv 2310.02367)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.backbones.config import LRURecConfig
from pinet_kedro.backbones.dropout import Dropout

# |λ| of a new unit: its square is uniform between the squares of these (Orvieto et al., ICML 2023, arXiv 2303.06349).
_RADII = (0.5, 0.99)
_LARGEST_ANGLE = 0.3  # radians between two events; larger ones alternate


class LRURec(Backbone):
    """States Block_n(… Block_1(LN(e_item))), normalised, with the same item vectors for input and output.

    A block is x ← LN(x + LRU(x)), then x ← LN(x + FFN(x)), with a feed-forward layer of width 2D and GELU. The
    recurrence alone tells the order of events: no positions are learnt.

    Differs from the paper in having one block instead of two, and no bias of an item's score.
    """

    config: LRURecConfig

    def __init__(self, config: LRURecConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, config.width, padding_idx=0)
        self.item_norm = nn.LayerNorm(config.width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.items.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[0] = 0

    def item_vectors(self) -> Float[Tensor, "I D"]:
        return self.items.weight[1:]

    def states(self, items: Int[Tensor, "B L"], rng: torch.Generator | None = None) -> Float[Tensor, "B L D"]:
        return self._states(items, rng=rng)

    def newest_states(self, histories: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        return self._states(histories, newest=True)[:, 0]

    def _states(
        self, items: Int[Tensor, "B L"], newest: bool = False, rng: torch.Generator | None = None
    ) -> Float[Tensor, "B n D"]:
        """States after every position, or after the newest alone; the last block then computes only that one."""
        real = items != 0
        x = self.dropout(self.item_norm(self.items(items)), rng)
        for block in self.blocks[:-1]:
            x = block(x, real, rng=rng)
        return self.norm(self.blocks[-1](x, real, newest, rng))


class _Block(nn.Module):
    """The linear recurrent unit, h_t = λ·h_{t−1} + √(1 − |λ|²)·B·x_t and y_t = Re(C·h_t), and a feed-forward layer.

    λ = exp(−exp(ν) + i·exp(θ)) has one complex number per hidden unit, so that |λ| < 1. Padding has no input.
    """

    def __init__(self, config: LRURecConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        low, high = (radius**2 for radius in _RADII)
        self.decay = nn.Parameter((-0.5 * (low + (high - low) * torch.rand(hidden)).log()).log())  # ν
        self.angle = nn.Parameter((_LARGEST_ANGLE * (1 - torch.rand(hidden))).log())  # θ
        self.enter = nn.Linear(width, 2 * hidden)  # B, its real and imaginary part
        self.leave = nn.Linear(2 * hidden, width)  # Re(C·h) = Re C·Re h − Im C·Im h
        self.mixed_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        real: Bool[Tensor, "B L"],
        newest: bool = False,
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, "B n D"]:
        scale = (-torch.expm1(-2 * self.decay.exp())).sqrt() * real[..., None]
        inputs = [part * scale for part in self.enter(x).chunk(2, dim=-1)]
        if newest:
            x, mixed = x[:, -1:], self._last(*inputs)
        else:
            mixed = self._scan(*inputs)
        x = self.mixed_norm(x + self.dropout(self.leave(torch.cat(mixed, -1)), rng))
        hidden = self.dropout(F.gelu(self.expand(x)), rng)
        return self.feed_norm(x + self.dropout(self.contract(hidden), rng))

    def _power(self, n: int | Tensor) -> tuple[Tensor, Tensor]:
        """λⁿ, its real and imaginary part."""
        radius, angle = (-n * self.decay.exp()).exp(), n * self.angle.exp()
        return radius * angle.cos(), radius * angle.sin()

    def _last(self, re: Float[Tensor, "B L H"], im: Float[Tensor, "B L H"]) -> tuple[Tensor, Tensor]:
        """h_L = Σ_t λ^(L−t)·u_t."""
        age = torch.arange(re.shape[1] - 1, -1, -1, device=re.device, dtype=re.dtype)[:, None]
        a, b = self._power(age)
        return (a * re - b * im).sum(1, keepdim=True), (a * im + b * re).sum(1, keepdim=True)

    def _scan(self, re: Float[Tensor, "B L H"], im: Float[Tensor, "B L H"]) -> tuple[Tensor, Tensor]:
        """h_t = Σ_{s ≤ t} λ^(t−s)·u_s at every t, in log₂ L steps that double the number of summed inputs."""
        length = re.shape[1]
        for step in range(math.ceil(math.log2(length))):
            shift = 2**step
            a, b = self._power(shift)
            old_re, old_im = (F.pad(part[:, :-shift], (0, 0, shift, 0)) for part in (re, im))
            re, im = re + a * old_re - b * old_im, im + a * old_im + b * old_re
        return re, im
