"""LRURec: a linear recurrent network over the items of a history (Yue et al., WSDM 2024, arXiv 2310.02367)."""

from typing import Any

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
        re, im = (part * scale for part in self.enter(x).chunk(2, dim=-1))
        if newest:
            x, mixed = x[:, -1:], self._last(re, im)
        else:
            run = _Scan.apply if torch.is_grad_enabled() else _accumulate  # ONNX cannot express the first
            mixed = run(re, im, *self._power(1))
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


class _Scan(torch.autograd.Function):
    """h_t = λ·h_{t−1} + u_t at every t, for λ = a + ib, and its gradients, which need h alone.

    The gradient of u runs backwards: g_t = ∂h_t + λ̄·g_{t+1}; that of λ is Σ_t g_t·h̄_{t−1}. If autograd
    records the steps of `_accumulate` instead, a training step takes 1.2 times as long and allocates twice as much.
    """

    @staticmethod
    def forward(ctx: Any, re: Tensor, im: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        re, im = _accumulate(re, im, a, b)
        ctx.save_for_backward(re, im, a, b)
        return re, im

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        re, im, a, b = ctx.saved_tensors
        g_re, g_im = (part.flip(1) for part in _accumulate(upstream[0].flip(1), upstream[1].flip(1), a, -b))
        before_re, before_im, after_re, after_im = re[:, :-1], im[:, :-1], g_re[:, 1:], g_im[:, 1:]
        of_a = (after_re * before_re + after_im * before_im).sum((0, 1))
        of_b = (after_im * before_re - after_re * before_im).sum((0, 1))
        return g_re, g_im, of_a, of_b


def _accumulate(
    re: Float[Tensor, "B L H"], im: Float[Tensor, "B L H"], a: Float[Tensor, " H"], b: Float[Tensor, " H"]
) -> tuple[Tensor, Tensor]:
    """h_t = Σ_{s ≤ t} (a + ib)^(t−s)·u_s at every t, in log₂ L steps that double the number of summed inputs."""
    shift, length = 1, re.shape[1]
    while shift < length:
        next_re, next_im = re.clone(), im.clone()
        old_re, old_im = re[:, :-shift], im[:, :-shift]
        next_re[:, shift:].addcmul_(a, old_re).addcmul_(b, old_im, value=-1)
        next_im[:, shift:].addcmul_(a, old_im).addcmul_(b, old_re)
        re, im = next_re, next_im
        a, b = a * a - b * b, 2 * a * b  # λ to the power of the next shift
        shift *= 2
    return re, im
