"""Gains of a model over another on the same users, with paired bootstrap intervals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000

Scores = Float[np.ndarray, "*S U"]
_NOTHING: dict[str, float | None] = {"relative": None, "low": None, "high": None}


def relative_gain(model: Scores, reference: Scores, seed: int = 0) -> dict[str, float | None]:
    """`relative` = mean(model) / mean(reference) − 1, with `low` and `high` of its 95 % interval.

    Percentile bootstrap (Efron, 1979) over users, and over training seeds if there are several rows, with 2,000
    resamples. Both models are measured on the same resamples, so users that are hard for both do not widen the
    interval. All three are None if the reference is 0 for every user.
    """
    return relative_gains([(model, reference)], seed)[0]


def relative_gains(pairs: Sequence[tuple[Scores, Scores]], seed: int = 0) -> list[dict[str, float | None]]:
    """`relative_gain` of many pairs of equal shape, in little more time than one pair.

    All pairs are measured on the same resamples, and an array in several pairs is measured once. A resample of users is
    stored as multinomial counts, drawn in blocks of bounded memory.
    """
    distinct = {id(scores): np.atleast_2d(scores) for pair in pairs for scores in pair}
    seeds, n = next((scores.shape for scores in distinct.values()), (0, 0))
    if n == 0:
        return [_NOTHING for _ in pairs]
    totals: dict[int, list[np.ndarray]] = {key: [] for key in distinct}
    rng = np.random.default_rng(seed)
    block = max(1, 2**24 // n)
    for start in range(0, RESAMPLES, block):
        draws = min(block, RESAMPLES - start)
        users = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
        user_counts = np.bincount(users.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
        seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws)
        for key, scores in distinct.items():
            totals[key].append(((user_counts @ scores.T) * seed_counts).sum(1))
    drawn = {key: np.concatenate(parts) for key, parts in totals.items()}
    return [_gain(*pair, *(drawn[id(scores)] for scores in pair)) for pair in pairs]


def _gain(model: Scores, reference: Scores, total: np.ndarray, base: np.ndarray) -> dict[str, float | None]:
    if reference.mean() == 0:
        return _NOTHING
    low, high = np.nanpercentile(total / np.where(base > 0, base, np.nan) - 1, [2.5, 97.5])
    return {"relative": float(model.mean() / reference.mean() - 1), "low": float(low), "high": float(high)}
