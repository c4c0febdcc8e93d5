"""Times that are numbers: clock readings since 1970 in one unit, or positions."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.errors import InputError
from pinet_kedro.reading.nanoseconds import PER_SECOND, SECOND, iso
from pinet_kedro.reading.time_values import (
    LARGEST,
    OLDEST,
    Times,
    examples,
    is_given,
    scaled,
    tomorrow,
    with_unreadable,
)

log = logging.getLogger(__name__)

# A clock reading above this is not in seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
_SECONDS_LIMIT = 10**11
# Counts since another epoch (.NET's ticks, Apple's seconds since 2001) look like a log that ended before 1995.
_DOUBTFUL = 788_918_400 * SECOND
_LARGEST_FLOAT = np.nextafter(2.0**63, 0)


def read_integers(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    """Times of a column of integers."""
    missing = values.is_null().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    if numbers.dtype == np.uint64:
        numbers = np.minimum(numbers, LARGEST)
    numbers = numbers.astype(np.int64, copy=False)
    unit = _unit_of(numbers, unit, where, values)
    return scaled(numbers, np.zeros(1, np.int64), unit, missing, values)


def read_floats(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    """Times of a column of floating-point numbers, which resolve present times to a microsecond only.

    Numbers of fewer than 64 bits resolve them to minutes or worse, which is logged.
    """
    _warn_of_few_digits(values, where)
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = ~np.isfinite(numbers)
    numbers = np.where(missing, 0, np.clip(numbers, -LARGEST, LARGEST))
    whole = np.floor(numbers)
    part = numbers - whole
    limit = np.float64(LARGEST)
    integers = np.where(np.abs(whole) >= limit, np.where(whole < 0, -LARGEST, LARGEST), 0)
    inside = np.abs(whole) < limit
    integers[inside] = whole[inside].astype(np.int64)
    unit = _unit_of(integers, unit, where, values)
    if unit == "order":
        if part.any():
            row = int(part.argmax())
            raise InputError(
                f"{where}, row {row + 1}: {numbers[row]:.17g} is not a position: a position is a whole number. With "
                "timestamp_unit=order the column numbers the events; for clock readings use timestamp_unit=auto, s, "
                "ms, us or ns."
            )
        return scaled(integers, np.zeros(1, np.int64), unit, missing, values)
    micros = np.rint(part * (10**6 // PER_SECOND[unit]) if unit in ("s", "ms") else part * 0).astype(np.int64)
    return scaled(integers, micros * 1000, unit, missing, values)


def _warn_of_few_digits(values: pa.ChunkedArray, where: str) -> None:
    if values.type == pa.float64():
        return
    numbers = values.to_numpy(zero_copy_only=False)
    apart = np.spacing(np.abs(numbers[np.isfinite(numbers)]).max(initial=0))
    if apart > 1:
        log.warning(
            "%s holds floating-point numbers of %d bits, in which the newest times are %g apart: nearer ones have "
            "become equal, and equal events count once. Write the column as integers or dates.",
            where, values.type.bit_width, apart,
        )  # fmt: skip


def read_number_texts(text: pa.ChunkedArray, is_number: pa.ChunkedArray, unit: str, where: str) -> Times:
    """Times of numbers in text, exact to the nanosecond."""
    readable = text if pc.all(is_number).as_py() else pc.if_else(is_number, text, None)
    try:
        return with_unreadable(read_integers(readable.cast(pa.int64()), unit, where), text)
    except pa.ArrowInvalid:
        pass
    floats = pd.to_numeric(readable.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)

    def rounded(unit: str) -> Times:
        times = read_floats(pa.chunked_array([floats], pa.float64()), unit, where)
        return replace(with_unreadable(times, text), form="rounded to floating-point numbers")

    if unit == "auto":
        unit = _unit_of(
            np.clip(np.nan_to_num(floats), -_LARGEST_FLOAT, _LARGEST_FLOAT).astype(np.int64), unit, where, text
        )
    if unit == "order":
        return rounded(unit)
    digits = {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit]
    readable = pc.replace_substring_regex(readable, rf"(\.[0-9]{{{digits}}})[0-9]+$", r"\1")
    readable = pc.replace_substring_regex(readable, r"\.$", "")
    try:
        exact = readable.cast(pa.decimal128(38, digits))
    except pa.ArrowInvalid:  # more digits after an exponent than nanoseconds have, or a number beyond all times
        return rounded(unit)
    missing = exact.is_null().to_numpy(zero_copy_only=False)
    words = [
        np.frombuffer(chunk.buffers()[1], np.int64)[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
        for chunk in exact.chunks
    ]
    low, high = (np.concatenate([word[i::2] for word in words] or [np.zeros(0, np.int64)]) for i in (0, 1))
    beyond = ~missing & (high != low >> 63)
    low = np.where(missing, 0, np.where(beyond, np.where(high < 0, -LARGEST, LARGEST), low))
    return Times(pd.arrays.IntegerArray(low, missing), unit, examples(text, (missing | beyond) & is_given(text)))


def _unit_of(numbers: np.ndarray, unit: str, where: str, values: pa.ChunkedArray) -> str:
    """The unit of clock readings: with `auto`, the coarsest unit in which all of them are before the year 5138.

    Raises `InputError` if no unit suits all values, or if the result is an unlikely date.
    """
    if unit != "auto" or len(numbers) == 0:
        return "s" if unit == "auto" else unit
    largest = max(abs(int(numbers.max())), abs(int(numbers.min())))
    unit = next((name for name, n in PER_SECOND.items() if largest <= _SECONDS_LIMIT * n), "ns")
    seconds = numbers // PER_SECOND[unit]
    newest = int(seconds.max())
    oldest, doubtful = OLDEST // SECOND, _DOUBTFUL // SECOND
    if oldest <= newest < doubtful:
        raise InputError(
            f"{where}: read as {unit}, the newest event is from {iso(newest * SECOND)}, which is unlikely. If that is "
            f"right, set timestamp_unit={unit}; otherwise convert the column to seconds since 1970, or to dates."
        )
    for coarser in PER_SECOND:
        if coarser == unit:
            break
        in_coarser = numbers // PER_SECOND[coarser]
        other = (seconds < oldest) & (in_coarser >= oldest) & (in_coarser <= tomorrow() // SECOND)
        if other.any() and (seconds >= oldest).any():
            mine, its = int((seconds >= oldest).argmax()), int(other.argmax())
            raise InputError(
                f"{where} mixes units: {values[mine]} (row {mine + 1}) can only be in {unit}, {values[its]} (row "
                f"{its + 1}) only in {coarser}. Convert the column to one unit."
            )
    return unit
