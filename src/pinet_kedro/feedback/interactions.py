"""The interactions that came after the answers, from all partitions."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import EVENT, Interactions, as_read_now
from pinet_kedro.reading.nanoseconds import DAY

# By name; stored ones are tables, those that are read from a file know their origin.
Partitions = Mapping[str, Callable[[], Interactions | pd.DataFrame]]


def gather_since(partitions: Partitions, names: list[str], since: int) -> tuple[pd.DataFrame, list[str]]:
    """`user_id, item_id, timestamp` of the events of these partitions from a time (nanoseconds) on, and the names of
    the partitions among them that have dates without a time of day; one partition is in memory at a time.

    Raises `InputError` for events without one of the three.
    """
    dated: list[str] = []
    parts = [pd.DataFrame({"user_id": [], "item_id": [], "timestamp": np.array([], np.int64)})]
    for name in sorted(names):
        events = Interactions.of(partitions[name]()).events.reindex(columns=EVENT)
        if events.isna().to_numpy().any():
            raise InputError(
                f"partition {name} has events without user, item or time. Retraining sets such a partition aside; "
                "correct it, or move it away."
            )
        events = as_read_now(events, f"partition {name}:")
        newer = events[events["timestamp"] >= since]
        if len(newer) and not (events["timestamp"] % DAY).any():
            dated.append(name)
        parts.append(newer)
    return pd.concat(parts, ignore_index=True), dated
