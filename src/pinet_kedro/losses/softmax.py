"""Softmax over the whole catalogue or over a sample of it.

Both are a softmax over a candidate set C with inclusion probabilities π,

    ℓ(h, t) = −s_t + log( e^{s_t} + Σ_{j ∈ C, j ≠ t} e^{s_j} / π_j ),    s_j = h · v_j,

which is an importance-weighted estimate of the full softmax (Bengio and Senécal, IEEE TNN 2008). C = catalogue and
π = 1 give the full softmax itself. The target has weight 1, since it is always in C. p = e^−ℓ is the target's
probability; focal modulation (Lin et al., ICCV 2017, arXiv 1708.02002, equation 4) replaces ℓ by

    (1 − p)^γ · ℓ,

so that targets that are already predicted well count less; γ = 0 is ℓ itself.

All strata of a step share ONE candidate set: `candidates` is called once per step, with the targets of all strata.
Sampling separately for each stratum changes the gradients that aggregation gets; we once mistook this for an effect of
aggregation.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.losses.config import FullSoftmaxConfig, SampledSoftmaxConfig

# Logits per chunk: a chunk stays in the CPU's cache; a tensor of users x length x catalogue would not fit into memory.
_CHUNK_LOGITS = 2**18


@dataclass(frozen=True)
class Candidates:
    """Candidate items of one step: `items` (1..I, sorted; None = the whole catalogue) and log π of each."""

    items: Int[Tensor, " C"] | None = None
    log_inclusion: Float[Tensor, " C"] | None = None

    def split(self, counts: list[int]) -> list["Candidates"]:
        """The same candidates for every batch of the step."""
        return [self] * len(counts)

    def renumbered(self, number: Int[Tensor, " I+1"]) -> "Candidates":
        """The same candidates with item j renumbered to number[j], which increases with j."""
        return self if self.items is None else Candidates(number[self.items], self.log_inclusion)


class FullSoftmax:
    """Softmax over the whole catalogue."""

    def __init__(self, config: FullSoftmaxConfig) -> None:
        self.focal = config.focal

    def candidates(self, targets: Int[np.ndarray, " N"], rng: np.random.Generator) -> Candidates:  # noqa: ARG002
        """The whole catalogue."""
        return Candidates()

    def __call__(
        self, states: Float[Tensor, "N D"], vectors: Float[Tensor, "I D"], targets: Int[Tensor, " N"], drawn: Candidates
    ) -> Float[Tensor, ""]:
        """`softmax_loss` with the configured γ."""
        return softmax_loss(states, vectors, targets, drawn, self.focal)


class SampledSoftmax(FullSoftmax):
    """Softmax over the step's targets and m uniformly drawn items, shared by all positions and strata.

    π_j = 1 − (1 − f_j)^N · (1 − m/I) is the probability that item j, with a share f_j of all training events (about
    that of the targets, which lack each user's first event), is among the step's N targets or in the uniform draw.
    """

    def __init__(self, config: SampledSoftmaxConfig, target_counts: Int[np.ndarray, " I"]) -> None:
        self.focal = config.focal
        self.uniform_items = min(config.uniform_items, len(target_counts))
        self.absent = np.log1p(-np.minimum(target_counts / max(target_counts.sum(), 1), 1 - 1e-9))

    def candidates(self, targets: Int[np.ndarray, " N"], rng: np.random.Generator) -> Candidates:
        """The distinct targets of the step and a new uniform draw without replacement."""
        n_items = len(self.absent)
        drawn = rng.choice(n_items, self.uniform_items, replace=False) + 1
        items = np.union1d(targets, drawn)
        missed = np.exp(self.absent[items - 1] * len(targets)) * (1 - self.uniform_items / n_items)
        log_inclusion = torch.from_numpy(np.log1p(-missed).astype(np.float32))
        return Candidates(torch.from_numpy(items.astype(np.int64)), log_inclusion)


def softmax_loss(
    states: Float[Tensor, "N D"],
    vectors: Float[Tensor, "I D"],
    targets: Int[Tensor, " N"],
    candidates: Candidates,
    focal: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean of (1 − p)^γ ℓ over N positions; `vectors` belong to items 1..I, `targets` are numbers from 1 to I."""
    if candidates.items is None:
        return _ChunkedSoftmax.apply(states, vectors, targets - 1, None, focal)
    assert candidates.log_inclusion is not None
    items, log_inclusion = candidates.items.to(targets.device), candidates.log_inclusion.to(targets.device)
    return _ChunkedSoftmax.apply(states, vectors[items - 1], torch.searchsorted(items, targets), log_inclusion, focal)


def summed_loss(
    logits: Float[Tensor, "N C"], columns: Int[Tensor, " N"], candidates: Candidates, focal: float = 0.0
) -> Float[Tensor, ""]:
    """Sum of (1 − p)^γ ℓ over rows of logits, the targets in `columns`. For logits that are not dot products."""
    score = logits.gather(1, columns[:, None])
    if candidates.log_inclusion is not None:
        logits = (logits - candidates.log_inclusion.to(logits)).scatter(1, columns[:, None], score)
    log_p = score - logits.logsumexp(1, keepdim=True)
    return -(_missed(log_p) ** focal * log_p).sum()


class _ChunkedSoftmax(torch.autograd.Function):
    """Mean of (1 − p)^γ ℓ; computes its gradients in the forward pass, chunk by chunk.

    Autograd would keep the logits of all chunks until the backward pass. This function keeps one chunk at a time, with
    the same work: three matrix products.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,  # noqa: ANN001
        states: Float[Tensor, "N D"],
        vectors: Float[Tensor, "C D"],
        columns: Int[Tensor, " N"],
        log_inclusion: Float[Tensor, " C"] | None,
        focal: float,
    ) -> Float[Tensor, ""]:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        state_grad = torch.empty_like(states) if wanted else None
        vector_grad = torch.zeros_like(vectors) if wanted else None
        total = states.new_zeros(())
        chunk = max(16, _CHUNK_LOGITS // len(vectors))
        buffer = states.new_empty(min(chunk, len(states)), len(vectors))
        for start in range(0, len(states), chunk):
            rows, column = states[start : start + chunk], columns[start : start + chunk, None]
            logits = torch.mm(rows, vectors.T, out=buffer[: len(rows)])
            score = logits.gather(1, column)
            if log_inclusion is not None:
                logits.sub_(log_inclusion).scatter_(1, column, score)
            highest = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(highest).exp_()
            normaliser = exponentials.sum(1, keepdim=True)
            log_p = score - highest - normaliser.log()
            factor, slope = _focal(log_p, focal)
            total -= (factor * log_p).sum()
            if state_grad is not None and vector_grad is not None:
                share = exponentials.div_(normaliser)
                share.scatter_add_(1, column, share.new_full((1, 1), -1.0).expand_as(column))
                torch.mm(share, vectors, out=state_grad[start : start + chunk]).mul_(slope)
                vector_grad.addmm_(share.T, rows * slope)  # not share * slope: rows have D columns, share has C
        if state_grad is not None and vector_grad is not None:
            ctx.save_for_backward(state_grad.div_(len(states)), vector_grad.div_(len(states)))
        return total / len(states)

    @staticmethod
    def backward(ctx, upstream: Tensor):  # noqa: ANN001, ANN205
        state_grad, vector_grad = ctx.saved_tensors
        return state_grad * upstream, vector_grad * upstream, None, None, None


def _focal(log_p: Float[Tensor, "N 1"], gamma: float) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N 1"]]:
    """(1 − p)^γ and d((1 − p)^γ ℓ)/dℓ = (1 − p)^γ + γ p (1 − p)^(γ−1) ℓ, with ℓ = −log p."""
    missed = _missed(log_p)
    factor = missed**gamma
    return factor, factor - gamma * log_p.exp() * missed ** (gamma - 1) * log_p


def _missed(log_p: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
    """1 − p, kept above 0 because 0^(γ−1) is infinite for γ < 1."""
    return (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
