"""Binary cross-entropy of the target and of sampled negatives.

A position has one target t and n negatives j, drawn uniformly from the other I − 1 items:

    ℓ(h, t) = −( β log σ(s_t) + Σ_j log σ(−s_j) ) / (n + 1),    s_j = h · v_j,    β = 1 − c (1 − α),    α = n / (I − 1).

c = 0 is BCE; with n = 1 it is the loss of SASRec (Kang and McAuley, ICDM 2018, equation 6, there as a sum). A model
that trains on only a share α of the negatives predicts probabilities that are too high. gBCE (Petrov and Macdonald,
RecSys 2023, arXiv 2308.07192; they write t for c, and β as α (t (1 − 1/α) + 1/α)) corrects this by raising the
target's probability to the power β; c = 1 corrects it completely.

SASRec excludes all items of the user's history from the negatives. This loss, like gSASRec, excludes only the target.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

# Numbers in the gathered vectors of one chunk: a tensor of positions x negatives x width would not fit into memory.
_CHUNK_NUMBERS = 2**19


@dataclass(frozen=True)
class Negatives:
    """Negative items (1..I) of every target of a step, in the order of the targets."""

    items: Int[Tensor, "N n"]

    def split(self, counts: list[int]) -> list["Negatives"]:
        """The negatives of each batch; they are drawn once per step, so splitting the step into strata changes none."""
        return [Negatives(part) for part in self.items.split(counts)]

    def renumbered(self, number: Int[Tensor, " I+1"]) -> "Negatives":
        """The same negatives with item j renumbered to number[j]."""
        return Negatives(number[self.items])


class BinaryCrossEntropy:
    """BCE or, with a calibration c > 0, gBCE."""

    def __init__(self, negatives: int, calibration: float, n_items: int) -> None:
        if n_items < 2:
            raise ValueError(f"sampling negatives needs at least two items, got n_items={n_items}")
        self.negatives = negatives
        self.n_items = n_items
        self.power = 1 - calibration * (1 - min(negatives / (n_items - 1), 1))

    def candidates(self, targets: Int[np.ndarray, " N"], rng: np.random.Generator) -> Negatives:
        """n new negatives per target, drawn with replacement from all items except the target."""
        others = rng.integers(1, self.n_items, (len(targets), self.negatives))
        return Negatives(torch.from_numpy(others + (others >= targets[:, None])))

    def __call__(
        self, states: Float[Tensor, "N D"], vectors: Float[Tensor, "I D"], targets: Int[Tensor, " N"], drawn: Negatives
    ) -> Float[Tensor, ""]:
        """Mean of ℓ over N positions."""
        picked = torch.cat([targets[:, None], drawn.items.to(targets.device)], 1) - 1
        return _ChunkedBinary.apply(states, vectors, picked, self.power)

    def summed(self, logits: Float[Tensor, "N m"]) -> Float[Tensor, ""]:
        """Sum of ℓ over rows of logits, the target in column 0. For backbones whose logits are not dot products."""
        return _summed(logits, self.power) / logits.shape[1]


class _ChunkedBinary(torch.autograd.Function):
    """Mean of ℓ, with the target in column 0 of `picked`; computes gradients in the forward pass, as in `softmax`."""

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
