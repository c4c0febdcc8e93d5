"""Times as whole nanoseconds since 1970 (UTC): constants, text, and what earlier versions stored."""

from typing import Any

import numpy as np

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SECOND = 10**9
DAY = 86_400 * SECOND
CLOCK = 10**15  # times below this (1970) are positions of a log without a clock, which cannot be compared
# Earlier versions stored seconds. No real time in nanoseconds is below this: 1e12 ns is a quarter of an hour in 1970.
_SECONDS_BELOW = 10**12


def in_nanoseconds(times: Any) -> Any:
    """A stored time, or an array of them, in nanoseconds; converts the seconds of earlier versions."""
    if isinstance(times, int):
        return times * SECOND if abs(times) < _SECONDS_BELOW else times
    values = np.asarray(times, np.int64)
    return values * SECOND if len(values) and np.abs(values).max() < _SECONDS_BELOW else values


def iso(time: int) -> str:
    """A time in nanoseconds as text, with as many digits as it has: '2020-09-13 12:26:40.5'."""
    text = str(np.datetime64(int(time), "ns")).replace("T", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text
