"""Gains of a model over another on the same users, and shares of what users were shown, with bootstrap intervals."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 2000
_LEAST_USERS = 10  # resamples of fewer users are too much alike: their interval would look too narrow

Scores = Float[np.ndarray, "*S U"]
_NOTHING: dict[str, float | None] = {"relative": None, "low": None, "high": None}


def relative_gain(
    model: Scores, reference: Scores, seed: int = 0, least: int = _LEAST_USERS
) -> dict[str, float | None]:
    """`relative` = mean(model) / mean(reference) − 1, with `low` and `high` of its 95 % interval.

    Percentile bootstrap (Efron, 1979) over users, and over training seeds if there are several rows, with 2,000
    resamples. Both models are measured on the same resamples, so users that are hard for both do not widen the
    interval. All three are None if the reference is 0 for every user, and low and high if fewer than `least` users have
    a value other than 0 from one of the two.
    """
    return relative_gains([(model, reference)], seed, least)[0]


def relative_gains(
    pairs: Sequence[tuple[Scores, Scores]], seed: int = 0, least: int = _LEAST_USERS
) -> list[dict[str, float | None]]:
    """`relative_gain` of many pairs of equal shape, in little more time than one pair.

    All pairs are measured on the same resamples, and an array in several pairs is measured once. A resample of users is
    stored as multinomial counts, drawn in blocks of bounded memory.
    """
    distinct = {id(scores): np.atleast_2d(scores) for pair in pairs for scores in pair}
    seeds, n = next((scores.shape for scores in distinct.values()), (0, 0))
    if n == 0:
        return [_NOTHING for _ in pairs]
    totals: dict[int, list[np.ndarray]] = {key: [] for key in distinct}
    for user_counts, seed_counts in _resamples(n, seeds, seed):
        for key, scores in distinct.items():
            totals[key].append(((user_counts @ scores.T) * seed_counts).sum(1))
    drawn = {key: np.concatenate(parts) for key, parts in totals.items()}
    gains = [_gain(*pair, *(drawn[id(scores)] for scores in pair)) for pair in pairs]
    users = [np.count_nonzero(np.any([np.atleast_2d(scores).any(0) for scores in pair], axis=0)) for pair in pairs]
    return [gain if n >= least else gain | {"low": None, "high": None} for gain, n in zip(gains, users, strict=True)]


def mean_differences(
    pairs: Sequence[tuple[Float[np.ndarray, "M U"], Float[np.ndarray, "M U"]]], seed: int = 0
) -> list[list[dict[str, float | None]]]:
    """For each pair and each of its rows, `difference` = mean(model) − mean(reference) and its 95 % interval.

    Paired percentile bootstrap over users, as in `relative_gain`, with the same resamples for all. A row may be
    undefined (NaN) for some users; its means are over those for whom both models define it. All three are None if
    there is no such user, and low and high if there are fewer than ten.
    """
    if not pairs:
        return []
    difference = np.concatenate([model - reference for model, reference in pairs])
    defined = ~np.isnan(difference)
    values = np.where(defined, difference, 0.0)
    drawn = [(counts @ values.T, counts @ defined.T) for counts, _ in _resamples(difference.shape[1], 1, seed)]
    totals, users = (np.concatenate(parts).T for parts in zip(*drawn, strict=True))
    rows = [_difference(*row) for row in zip(values, defined, totals, users, strict=True)]
    return [rows[start : start + len(pairs[0][0])] for start in range(0, len(rows), len(pairs[0][0]))]


def _difference(
    values: np.ndarray, defined: np.ndarray, totals: np.ndarray, users: np.ndarray
) -> dict[str, float | None]:
    if not defined.any():
        return {"difference": None, "low": None, "high": None}
    mean = float(values.sum() / defined.sum())
    if defined.sum() < _LEAST_USERS:
        return {"difference": mean, "low": None, "high": None}
    low, high = np.percentile(totals[users > 0] / users[users > 0], [2.5, 97.5])
    return {"difference": mean, "low": float(low), "high": float(high)}


def _resamples(n: int, seeds: int, seed: int) -> Iterator[tuple[Float[np.ndarray, "R U"], np.ndarray]]:
    """How often a resample has each of the n users, and each of the seeds, in blocks of bounded memory."""
    rng = np.random.default_rng(seed)
    block = max(1, 2**24 // n)
    for start in range(0, RESAMPLES, block):
        draws = min(block, RESAMPLES - start)
        users = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
        user_counts = np.bincount(users.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
        yield user_counts, rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws)


def _gain(model: Scores, reference: Scores, total: np.ndarray, base: np.ndarray) -> dict[str, float | None]:
    if reference.mean() == 0:
        return _NOTHING
    low, high = np.nanpercentile(total / np.where(base > 0, base, np.nan) - 1, [2.5, 97.5])
    return {"relative": float(model.mean() / reference.mean() - 1), "low": float(low), "high": float(high)}


def share_of_all(
    hits: Int[np.ndarray, " U"], tries: Int[np.ndarray, " U"], seed: int = 0
) -> tuple[float, float, float]:
    """sum(hits) / sum(tries) over users with at least one try each, and the ends of its 95 % interval.

    Percentile bootstrap over users, whose tries depend on each other, with 2,000 resamples. Users with equal numbers
    are drawn together: their multinomial counts are the same resamples. Where no try or every try is a hit, resamples
    do not differ; the open end is the exact one (Clopper and Pearson, 1934) as if each user had one try.
    """
    share, users = float(hits.sum() / tries.sum()), len(tries)
    if share in (0.0, 1.0):
        exact = 0.025 ** (1 / users)
        return (0.0, 0.0, 1 - exact) if share == 0.0 else (1.0, exact, 1.0)
    pairs, counts = np.unique(tries.astype(np.int64) * (int(hits.max()) + 1) + hits, return_counts=True)
    of_tries, of_hits = np.divmod(pairs, int(hits.max()) + 1)
    rng = np.random.default_rng(seed)
    block = max(1, 2**22 // len(pairs))
    drawn = []
    for start in range(0, RESAMPLES, block):
        draws = rng.multinomial(users, counts / users, min(block, RESAMPLES - start))
        drawn.append((draws @ of_hits) / (draws @ of_tries))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return share, float(low), float(high)


def difference_of_shares(
    share: tuple[float, float, float], reference: tuple[float, float, float]
) -> tuple[float, float, float]:
    """share − reference of independent groups of users, and the ends of its interval from their `(value, low, high)`.

    The method of Newcombe (Statistics in Medicine 17, 1998, method 10) for any intervals (Zou and Donner, 2008).
    """
    (p, p_low, p_high), (q, q_low, q_high) = share, reference
    return p - q, p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)
