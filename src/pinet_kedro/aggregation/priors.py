"""Weights of strata that do not depend on gradients: these rules need one backward pass and no matrix.

`backdoor` with strength 1 is the user-balanced loss, in which all users have the same weight. It is exact if the users
of a stratum have histories of equal length, and closer with more strata. `balanced` is the group-balanced loss.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def backdoor(
    interaction_share: Float[Tensor, " G"], user_share: Float[Tensor, " G"], strength: float
) -> Float[Tensor, " G"]:
    """p_a ∝ s_a^(1−λ) · u_a^λ: from the confounded prior of joint training (λ = 0) to the intervened P(A) (λ = 1).

    Active users write most of the data X. Backdoor adjustment replaces P(A | X) by P(A):
    P(G | do(X)) = Σ_a P(G | X, A = a) P(A = a).
    """
    weights = interaction_share ** (1 - strength) * user_share**strength
    return weights / weights.sum()


def balanced(interaction_share: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
    """p_a = 1/G: the group-balanced loss."""
    return torch.full_like(interaction_share, 1 / len(interaction_share))


def effective_number(
    interaction_share: Float[Tensor, " G"], interactions: Float[Tensor, " G"], overlap: float
) -> Float[Tensor, " G"]:
    """p_a ∝ s_a / E_a with E_a = (1 − β^{n_a}) / (1 − β), the effective number of the stratum's n_a training targets.

    This is the class-balanced loss (Cui et al., CVPR 2019, arXiv 1901.05555, equation 2) with strata as classes: every
    target of stratum a has weight 1/E_a. β = 0 is joint training, β → 1 the group-balanced loss.
    """
    # expm1, because β^n rounds to 1 if β is close to 1; the factor 1 − β is common to all strata.
    weights = interaction_share / -torch.expm1(interactions * math.log(max(overlap, 1e-300)))
    return weights / weights.sum()
