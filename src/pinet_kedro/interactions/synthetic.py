"""A seeded synthetic log with long-tailed users and planted transitions, for tests and machines without network."""

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pinet_kedro.configuration import Configuration, Seed
from pinet_kedro.reading.nanoseconds import SECOND


class SyntheticLog(Configuration):
    """Size and properties of the generated log."""

    users: int = Field(600, ge=2, le=10_000_000)
    items: int = Field(200, ge=10, le=10_000_000)
    min_events: int = Field(8, ge=3, le=1_000_000, description="of the least active user")
    tail_exponent: float = Field(
        1.3, gt=0, le=100, description="activeness is Pareto distributed; smaller = heavier tail"
    )
    max_events: int = Field(400, ge=3, le=1_000_000)
    followers: int = Field(3, ge=1, le=1000, description="number of items that may follow an item in the planted chain")
    planted: float = Field(0.7, ge=0, le=1, description="share of events that follow the planted chain; 0 = noise")
    seed: Seed = 1

    @model_validator(mode="after")
    def _consistent(self) -> "SyntheticLog":
        if self.min_events > self.max_events:
            raise ValueError(f"min_events ({self.min_events}) must not exceed max_events ({self.max_events})")
        return self


def generate_interactions(config: SyntheticLog) -> pd.DataFrame:
    """Raw events `user_id, item_id, timestamp` (ns), `rating`, ordered by time.

    Every item has `followers` successors. With probability `planted` the next event is one of them, otherwise an item
    drawn by popularity (Zipf). The loop is over positions, not over users: all users advance together.
    """
    rng = np.random.default_rng(config.seed)
    lengths = config.min_events * (1 + rng.pareto(config.tail_exponent, config.users))
    lengths = np.minimum(lengths, config.max_events).astype(int)
    popularity = 1 / np.arange(1, config.items + 1)
    popularity = rng.permutation(popularity / popularity.sum())
    cumulative = popularity.cumsum()
    cumulative /= cumulative[-1]
    successors = rng.integers(0, config.items, (config.items, config.followers))

    def by_popularity(count: int) -> np.ndarray:
        # The same draws as rng.choice(items, count, p=popularity), which would sum the catalogue at every position.
        return cumulative.searchsorted(rng.random(count), side="right")

    item = by_popularity(config.users)
    clock = 1_600_000_000 + rng.integers(0, 86_400 * 365, config.users)
    active = np.arange(config.users)
    parts = []
    for position in range(lengths.max()):
        active = active[lengths[active] > position]
        parts.append((active.astype(np.int32), item[active].astype(np.int32), clock[active]))
        follow = successors[item[active], rng.integers(0, config.followers, len(active))]
        jump = by_popularity(len(active))
        item[active] = np.where(rng.random(len(active)) < config.planted, follow, jump)
        clock[active] += rng.integers(30, 86_400, len(active))
    user, items, time = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(time, kind="stable")
    rating = rng.integers(1, 6, len(user)).astype("float64")
    return pd.DataFrame(
        {
            "user_id": _names("u", config.users).take(user[order]),
            "item_id": _names("i", config.items).take(items[order]),
            "timestamp": pd.array(time[order] * SECOND, dtype="Int64"),
            "rating": rating[order],
        }
    )


def _names(letter: str, count: int) -> pd.api.extensions.ExtensionArray:
    return pd.array([f"{letter}{number:05d}" for number in range(count)], dtype="string")
