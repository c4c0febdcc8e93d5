"""Gradient noise of the strata: how many users make a gradient signal, and whether strata truly agree or conflict.

A round i draws n_a users of every stratum a, as a training step does, and has the gradients g_a^i of the strata's mean
losses. Their expectation G_a is the true gradient of the stratum. Rounds are independent, so the products of
different rounds share no noise, whatever the strata of one round have in common (such as sampled candidates):

    C_ab = Σ_{i≠j} g_a^i · g_b^j / (m (m − 1)),     E C_ab = G_a · G_b
    V_a  = Σ_i |g_a^i − ḡ_a|² / (m − 1),            E V_a  = tr Σ_a / n_a

with Σ_a the covariance of one user's gradient. The simple noise scale B_a = tr Σ_a / |G_a|² (McCandlish et al., 2018,
arXiv 1812.06162) is the number of users whose mean gradient has as much noise as signal; the mean over n users has the
cosine 1/√(1 + B_a/n) with G_a, where noise is spread over many directions. The cosine of two true gradients is
C_ab / √(C_aa C_bb). The plain cosine of g_a^i and g_b^i is nearer to 0, by both strata's factors 1/√(1 + B/n).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NoiseEstimate:
    """Estimates for G strata over one part of the parameters; each `_error` is the standard error of its namesake.

    `step_cosine` is the mean product of two strata's gradients in one and the same round, over the root mean squares
    of their norms: what a rule that reads single steps sees.
    """

    squared_norm: Float[np.ndarray, " G"]
    squared_norm_error: Float[np.ndarray, " G"]
    trace: Float[np.ndarray, " G"]
    trace_error: Float[np.ndarray, " G"]
    noise_scale: Float[np.ndarray, " G"]
    noise_scale_error: Float[np.ndarray, " G"]
    cosine: Float[np.ndarray, "G G"]
    cosine_error: Float[np.ndarray, "G G"]
    step_cosine: Float[np.ndarray, "G G"]
    step_cosine_error: Float[np.ndarray, "G G"]


class GradientMoments:
    """Running sums over rounds from which everything is estimated; no single gradient is kept.

    The rounds fall into `blocks` of equally many, whose sums are kept apart for the jackknife: memory is that of
    `blocks` times the G gradients, however many rounds there are. `parts` cuts the columns into named parts of the
    parameters; estimates are of each part and of all together.
    """

    def __init__(self, groups: int, parts: dict[str, int], blocks: int) -> None:
        self.parts = parts
        self.sums = torch.zeros(blocks, groups, sum(parts.values()))
        self.squares = torch.zeros(len(parts), blocks, groups, groups, dtype=torch.float64)
        self.rounds = np.zeros(blocks)

    @torch.no_grad()
    def add(self, block: int, matrix: Float[Tensor, "G P"]) -> None:
        """Adds the gradients of one round."""
        self.sums[block] += matrix.to(self.sums)
        for squares, columns in zip(self.squares, matrix.split(list(self.parts.values()), 1), strict=True):
            squares[block] += (columns @ columns.T).to(squares)
        self.rounds[block] += 1

    def estimate(self, users: Float[np.ndarray, " G"]) -> dict[str, NoiseEstimate]:
        """Estimates by part, and of `all` parameters; `users` are those of each stratum in a round."""
        blocks, groups = self.sums.shape[:2]
        rows = self.sums.flatten(0, 1).split(list(self.parts.values()), 1)
        products = {
            name: ((r @ r.T).double().view(blocks, groups, blocks, groups).numpy(), squares.numpy())
            for name, r, squares in zip(self.parts, rows, self.squares, strict=True)
        }
        sums, squares = (np.sum(values, axis=0) for values in zip(*products.values(), strict=True))
        everything = {"all": (sums, squares), **products}
        return {name: _estimate(*values, self.rounds, users) for name, values in everything.items()}


def expected_cosine(noise_scale: Float[np.ndarray, "*G"], users: Float[np.ndarray, "*G"]) -> Float[np.ndarray, "*G"]:
    """1/√(1 + B/n): cosine of the mean gradient of n users with the true one."""
    return 1 / np.sqrt(1 + noise_scale / users)


def users_needed(noise_scale: Float[np.ndarray, "*G"], cosine: float) -> Float[np.ndarray, "*G"]:
    """B c²/(1 − c²): users whose mean gradient has the cosine c with the true one."""
    return noise_scale * cosine**2 / (1 - cosine**2)


def _estimate(
    sums: Float[np.ndarray, "K G K G"],
    squares: Float[np.ndarray, "K G G"],
    rounds: Float[np.ndarray, " K"],
    users: Float[np.ndarray, " G"],
) -> NoiseEstimate:
    """Estimates from the products of the blocks' sums, and from the sums of the products inside rounds.

    Standard errors by the jackknife over the K blocks: √((K − 1)/K Σ_k (θ_k − θ̄)²), θ_k without block k.
    """
    k = len(rounds)
    kept = np.vstack([np.ones(k), 1 - np.eye(k)])  # everything, then without each block in turn
    m = (kept @ rounds)[:, None, None]
    inside = np.einsum("jk,kab->jab", kept, squares)
    product = (np.einsum("jk,kalb,jl->jab", kept, sums, kept) - inside) / (m * (m - 1))
    mean_square = np.einsum("jaa->ja", inside / m)
    norm2 = np.einsum("jaa->ja", product)
    trace = users * (mean_square - norm2)
    # A squared norm may be estimated below 0 where there is no signal: the noise scale is infinite, cosines undefined.
    positive = np.where(norm2 > 0, norm2, np.nan)
    found = {
        "squared_norm": norm2,
        "trace": trace,
        "noise_scale": np.where(norm2 > 0, trace / positive, np.inf),
        "cosine": product / np.sqrt(positive[:, :, None] * positive[:, None, :]),
        "step_cosine": inside / m / np.sqrt(mean_square[:, :, None] * mean_square[:, None, :]),
    }
    values = {name: value[0] for name, value in found.items()}
    with np.errstate(invalid="ignore"):  # ∞ − ∞: no error is known of an infinite noise scale
        errors = {f"{name}_error": np.sqrt((k - 1) * value[1:].var(0)) for name, value in found.items()}
    return NoiseEstimate(**values, **errors)
