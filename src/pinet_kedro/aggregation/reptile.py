"""Reptile over strata: inner steps visit one stratum after the other (Nichol et al., arXiv 1803.02999)."""

import torch

from pinet_kedro.aggregation.group_gradients import GroupGradients, Losses


def visit_strata(
    gradients: GroupGradients,
    losses: Losses,
    weights: list[float],
    inner_rate: float,
    rng: torch.Generator | None = None,
) -> list[float]:
    """The values of the losses, each at its own visit; sets `p.grad` to (θ − θ_G)/α.

    From θ_0 = θ the G strata are visited in a random order π (from `rng`, on the CPU; None: torch's own), with the
    inner rate α and the strata's weights p:

        θ_k = θ_{k−1} − α p_π(k) ∇L_π(k)(θ_{k−1}),    (θ − θ_G)/α = Σ_k p_π(k) ∇L_π(k)(θ_{k−1}).

    α → 0 gives the gradient of the prior-weighted loss. To first order in α, the mean over all orders adds
    −(α/2) Σ_{a<b} ∇(p_a ∇L_a · p_b ∇L_b), which favours parameters at which the strata's gradients agree.

    Yin et al. (Learning Transferrable Parameters for Long-tailed Sequential User Behavior Modeling, KDD 2020) align
    the gradients of users in this way. Here the tasks are strata, the outer step is the optimiser's, and there is no
    adversarial discriminator.
    """
    parameters, visits = gradients.parameters, list(zip(losses, weights, strict=True))
    moved = [p.detach() for p in parameters]
    start = [p.clone() for p in moved]
    total = [torch.zeros_like(p) for p in start]
    values = [0.0] * len(visits)
    for a in torch.randperm(len(visits), generator=rng).tolist():
        loss, weight = visits[a]
        value = loss()
        step, now = gradients.met(torch.autograd.grad(value * weight, parameters), [value.detach()])
        values[a] = now.item()
        # Summed instead of computed as θ − θ_G, which is mostly rounding error if α is small.
        torch._foreach_add_(total, step)
        torch._foreach_add_(moved, step, alpha=-inner_rate)
    torch._foreach_copy_(moved, start)
    for p, gradient in zip(parameters, total, strict=True):
        p.grad = gradient
    return values
