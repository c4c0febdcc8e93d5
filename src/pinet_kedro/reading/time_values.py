"""The result of reading a column of times, and the step that all formats share: seconds and less to nanoseconds."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from pinet_kedro.reading.nanoseconds import PER_SECOND, SECOND

OLDEST = 631_152_000 * SECOND  # 1990; the raw gate refuses anything older
LARGEST = 2**63 - 1
_EXAMPLES = 5


@dataclass(frozen=True)
class Times:
    """`values`: nanoseconds, or positions with the unit `order` (Int64, null where missing or unreadable).

    `unit` is the unit of numbers in the source, None for dates. `unreadable` has the first values that cannot be read
    or are outside the years 1677 to 2262, which nanoseconds can express, as (row from 0, text).
    `form` tells readings of texts apart in which the files of one log must agree.
    """

    values: pd.arrays.IntegerArray
    unit: str | None
    unreadable: list[tuple[int, str]]
    form: str = ""


def scaled(numbers: np.ndarray, nanos: np.ndarray, unit: str, missing: np.ndarray, source: pa.ChunkedArray) -> Times:
    """Times from whole numbers of a unit and additional nanoseconds.

    A time that 64 bits cannot hold becomes one of the greatest times, a different one in each row: the gate then
    reports a time in the future, but no duplicate events.
    """
    factor = SECOND // PER_SECOND.get(unit, SECOND)
    if factor == 1:
        return Times(pd.arrays.IntegerArray(numbers, missing), unit, [])
    limit = LARGEST // factor - 1
    beyond = (numbers > limit) | (numbers < -limit)
    times = np.clip(numbers, -limit, limit) * factor + nanos
    if beyond.any():
        times[beyond] = np.sign(numbers[beyond]) * (LARGEST - np.arange(np.count_nonzero(beyond)))
    return Times(pd.arrays.IntegerArray(times, missing), unit, examples(source, beyond & ~missing))


def without_unit(times: Times) -> Times:
    """The same times, read from dates."""
    return replace(times, unit=None)


def with_unreadable(times: Times, text: pa.ChunkedArray) -> Times:
    """The same times, with the texts that are there but could not be read as examples."""
    lost = examples(text, times.values.isna() & is_given(text))
    return replace(times, unreadable=sorted([*times.unreadable, *lost]))


def examples(source: pa.ChunkedArray, wrong: np.ndarray) -> list[tuple[int, str]]:
    """The first wrong values as (row from 0, text)."""
    return [(int(row), str(source[int(row)].as_py())) for row in np.flatnonzero(wrong)[:_EXAMPLES]]


def is_given(values: pa.ChunkedArray) -> np.ndarray:
    """True where a value is not null (bool, one per row)."""
    return values.is_valid().to_numpy(zero_copy_only=False)


def tomorrow() -> int:
    """In nanoseconds: events may be up to a day ahead of this machine's clock."""
    return int(datetime.now(UTC).timestamp() + 86_400) * SECOND
