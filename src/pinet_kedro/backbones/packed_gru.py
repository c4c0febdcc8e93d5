"""torch's GRU on a CPU for histories of different lengths: no padding, and little work in the loop over time."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def pack(real: Bool[Tensor, "B L"]) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"], list[int]]:
    """Rows and columns of the real entries of left-padded histories in packed order, and the number in each step.

    Step t has the t-th event of every history that is long enough. The longest histories come first, so the histories
    of a step are the first ones of the step before it:

        0 a b         c a f    (step 1)
        c d e    ->   d b      (step 2)     steps = [3, 2, 1]
        0 0 f         e        (step 3)
    """
    lengths, order = real.sum(1).sort(descending=True)
    step, at = (torch.arange(real.shape[1], device=real.device)[:, None] < lengths).nonzero(as_tuple=True)
    return order[at], real.shape[1] - lengths[at] + step, torch.bincount(step, minlength=1).tolist()


def packed_gru(
    gru: nn.GRU, x: Float[Tensor, "N D"], steps: list[int], rng: torch.Generator | None = None
) -> Float[Tensor, "N H"]:
    """States of the last layer at every packed position, starting from 0; dropout draws from `rng`."""
    dropped = gru.dropout if gru.training else 0.0
    # cuDNN needs no loop in Python, but its dropout between layers takes no generator.
    if x.is_cuda and len(x) and (gru.num_layers == 1 or dropped == 0):
        return gru(PackedSequence(x, torch.tensor(steps)))[0].data
    for layer in range(gru.num_layers):
        if layer and dropped:  # the same numbers as F.dropout
            x = x * torch.empty_like(x).bernoulli_(1 - dropped, generator=rng).div_(1 - dropped)
        names = (f"{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        x = _Recursion.apply(x, *(getattr(gru, name) for name in names), steps)
    return x


class _Recursion(torch.autograd.Function):
    """h_t = n_t + z_t ∘ (h_{t−1} − n_t), with torch's gates

        r_t = σ(W_r x_t + b_r + U_r h_{t−1} + c_r),   z_t = σ(W_z x_t + b_z + U_z h_{t−1} + c_z),
        n_t = tanh(W_n x_t + b_n + r_t ∘ m_t),        m_t = U_n h_{t−1} + c_n.

    The loop over steps contains only what depends on the previous step. The products with x and the gradients of the
    weights are one matrix product each over all positions; autograd would add up one per step.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx,  # noqa: ANN001
        x: Float[Tensor, "N D"],
        w: Float[Tensor, "3H D"],
        u: Float[Tensor, "3H H"],
        b: Float[Tensor, " 3H"],
        c: Float[Tensor, " 3H"],
        steps: list[int],
    ) -> Float[Tensor, "N H"]:
        width = u.shape[1]
        (u_rz, u_n), (c_rz, c_n) = u.T.split([2 * width, width], 1), c.split([2 * width, width])
        gates = torch.addmm(b + F.pad(c_rz, (0, width)), x, w.T)
        r, z, n = gates.split(width, 1)
        inner, hidden = x.new_empty(len(x), width), x.new_empty(len(x), width)
        now = x.new_zeros(steps[0], width)
        parts = (t.split(steps) for t in (gates[:, : 2 * width], r, z, n, inner, hidden))
        for rz_t, r_t, z_t, n_t, m_t, h_t in zip(*parts, strict=True):
            before = now[: len(h_t)]
            rz_t.addmm_(before, u_rz).sigmoid_()
            torch.addmm(c_n, before, u_n, out=m_t)
            n_t.addcmul_(r_t, m_t).tanh_()
            now = torch.lerp(n_t, before, z_t, out=h_t)
        ctx.save_for_backward(x, w, u, gates, inner, hidden)
        ctx.steps = steps
        return hidden

    @staticmethod
    def backward(ctx, upstream: Tensor):  # noqa: ANN001, ANN205
        x, w, u, gates, inner, hidden = ctx.saved_tensors
        steps = ctx.steps
        width, first = u.shape[1], steps[0]
        r, z, n = gates.split(width, 1)
        later = zip(hidden.split(steps), steps[1:], strict=False)
        before = torch.cat([hidden[:0], *(step[:count] for step, count in later)])
        # Derivatives of h with respect to the arguments of r and z, and to m.
        to_n = (1 - z) * (1 - n.square())
        slopes = gates.new_empty(len(x), 3, width)
        torch.mul(to_n, r, out=slopes[:, 2])
        torch.mul(slopes[:, 2] * inner, 1 - r, out=slopes[:, 0])
        change = n.neg()
        change[first:] += before
        torch.mul(change, z * (1 - z), out=slopes[:, 1])
        total, arguments = upstream.clone(), torch.empty_like(slopes)
        parts = [t.split(steps) for t in (total, arguments, slopes, z)]
        for t in reversed(range(len(steps))):
            total_t, arguments_t, slopes_t, z_t = (part[t] for part in parts)
            torch.mul(total_t[:, None], slopes_t, out=arguments_t)
            if t:
                parts[0][t - 1][: steps[t]].addmm_(arguments_t.flatten(1), u).addcmul_(total_t, z_t)
        flat = arguments.flatten(1)
        of_u, of_c = flat[first:].T @ before, flat.sum(0)
        # The argument of n contains W x without the factor r, and m with it.
        torch.mul(total, to_n, out=arguments[:, 2])
        return flat @ w, flat.T @ x, of_u, flat.sum(0), of_c, None
