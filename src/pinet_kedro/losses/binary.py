"""Binary cross-entropy of the target and of sampled negatives.

With n negatives j a position, drawn uniformly from the I − 1 items other than the target t,

    ℓ(h, t) = −( β log σ(s_t) + Σ_j log σ(−s_j) ) / (n + 1),    s_j = h · v_j,    β = 1 − c (1 − α),    α = n / (I − 1).

c = 0 is BCE, with n = 1 the loss of SASRec (Kang and McAuley, ICDM 2018, equation 6, there as a sum). Training on a
share α of the negatives only teaches probabilities that are too high; gBCE (Petrov and Macdonald, RecSys 2023,
arXiv 2308.07192, where c is t and β is written α (t (1 − 1/α) + 1/α)) takes the target's probability to the power β
against it, and c = 1 undoes it wholly.

SASRec draws no negative that its user has in the history; here, as in gSASRec, only the target itself is left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

# Numbers of picked vectors in memory at a time: no positions x negatives x width tensor ever exists.
_CHUNK_NUMBERS = 2**19


@dataclass(frozen=True)
class Negatives:
    """Negative items (1..I) of every target of a step, in the order of the targets."""

    items: Int[Tensor, "N n"]

    def split(self, counts: list[int]) -> list["Negatives"]:
        """Those of every batch: drawn once a step, so that cutting the step in strata changes none of them."""
        return [Negatives(part) for part in self.items.split(counts)]

    def renumbered(self, number: Int[Tensor, " I+1"]) -> "Negatives":
        """The same where item j is called number[j]."""
        return Negatives(number[self.items])


class BinaryCrossEntropy:
    """BCE or, with a calibration c > 0, gBCE."""

    def __init__(self, negatives: int, calibration: float, n_items: int) -> None:
        if n_items < 2:
            raise ValueError(f"a negative needs at least two items, got n_items={n_items}")
        self.negatives = negatives
        self.n_items = n_items
        self.power = 1 - calibration * (1 - min(negatives / (n_items - 1), 1))

    def candidates(self, targets: Int[np.ndarray, " N"], rng: np.random.Generator) -> Negatives:
        """n fresh items a target, with replacement, any but the target itself."""
        others = rng.integers(1, self.n_items, (len(targets), self.negatives))
        return Negatives(torch.from_numpy(others + (others >= targets[:, None])))

    def __call__(
        self, states: Float[Tensor, "N D"], vectors: Float[Tensor, "I D"], targets: Int[Tensor, " N"], drawn: Negatives
    ) -> Float[Tensor, ""]:
        """Mean of ℓ over N positions."""
        picked = torch.cat([targets[:, None], drawn.items.to(targets.device)], 1) - 1
        return _ChunkedBinary.apply(states, vectors, picked, self.power)

    def summed(self, logits: Float[Tensor, "N m"]) -> Float[Tensor, ""]:
        """Sum of ℓ over rows of logits, the target in column 0 and its negatives; for what is no dot product."""
        return _summed(logits, self.power) / logits.shape[1]


class _ChunkedBinary(torch.autograd.Function):
    """ℓ of a target in column 0 and its negatives, whose gradients are formed in the forward pass as in `softmax`."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,  # noqa: ANN001
        states: Float[Tensor, "N D"],
        vectors: Float[Tensor, "I D"],
        picked: Int[Tensor, "N m"],
        power: float,
    ) -> Float[Tensor, ""]:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        state_grad = torch.empty_like(states) if wanted else None
        vector_grad = torch.zeros_like(vectors) if wanted else None
        total = states.new_zeros(())
        chunk = max(1, _CHUNK_NUMBERS // (picked.shape[1] * states.shape[1]))
        for start in range(0, len(states), chunk):
            rows, columns = states[start : start + chunk], picked[start : start + chunk]
            chosen = vectors[columns]
            scores = torch.bmm(chosen, rows[:, :, None])[:, :, 0]
            total += _summed(scores, power)
            if state_grad is not None and vector_grad is not None:
                slope = torch.cat([-power * torch.sigmoid(-scores[:, :1]), torch.sigmoid(scores[:, 1:])], 1)
                state_grad[start : start + chunk] = torch.bmm(slope[:, None], chosen)[:, 0]
                vector_grad.index_add_(0, columns.flatten(), (slope[:, :, None] * rows[:, None]).flatten(0, 1))
        if state_grad is not None and vector_grad is not None:
            ctx.save_for_backward(state_grad.div_(picked.numel()), vector_grad.div_(picked.numel()))
        return total / picked.numel()

    @staticmethod
    def backward(ctx, upstream: Tensor):  # noqa: ANN001, ANN205
        state_grad, vector_grad = ctx.saved_tensors
        return state_grad * upstream, vector_grad * upstream, None, None


def _summed(scores: Float[Tensor, "N m"], power: float) -> Float[Tensor, ""]:
    return -(power * F.logsigmoid(scores[:, 0]).sum() + F.logsigmoid(-scores[:, 1:]).sum())
