"""One reading for a column of times: nanoseconds since 1970 (UTC), or positions, as `timestamp_unit` says.

A column has one unit, or one format of dates, and either all of its times have an offset from UTC or none has (they are
UTC then). All values take part in finding it; what they leave open is refused with the readings that are possible.
Nothing finer than the source is made up, and nothing is cut: fractions are kept down to the nanosecond.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.errors import InputError

UNITS = ("auto", "s", "ms", "us", "ns", "date", "order")

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_OF_NUMBERS = {"auto", "order", *PER_SECOND}
SECOND = 10**9
DAY = 86_400 * SECOND
# Times that no earlier version stored as nanoseconds: they are seconds of it. 1e12 ns are a quarter of an hour in 1970.
_SECONDS_BELOW = 10**12
# A clock reading above this is not in seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
_SECONDS_LIMIT = 10**11
_OLDEST = 631_152_000 * SECOND  # 1990: the gate lets nothing older pass
# Counts since another epoch (.NET's ticks, Apple's seconds since 2001) look like a log that ended in these years.
_DOUBTFUL = 788_918_400 * SECOND  # 1995
_MAX = 2**63 - 1
_MAX_FLOAT = np.nextafter(2.0**63, 0)
_EXAMPLES = 5
_SAMPLE = 1000
_BLOCK = 2**20

_DIGITS = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_NUMBER = rf"^{_DIGITS}(?:[eE][+-]?[0-9]+)?$"
_WAY_OUT = "with --env=csv --params=\"…,timestamp_unit='{}'\", otherwise in the catalog entry"


_TEXT_OR_NUMBER = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null,
)  # fmt: skip


@dataclass(frozen=True)
class Times:
    """`values` are nanoseconds or positions (Int64, null where there is none or it cannot be read).

    `unit` is that of the numbers in the source, None of dates. `unreadable` has the first values that cannot be read,
    or lie beyond the years 1677 to 2262 that nanoseconds reach, as (row from 0, text).
    """

    values: pd.arrays.IntegerArray
    unit: str | None
    unreadable: list[tuple[int, str]]


def check_unit(unit: object) -> str:
    """The `timestamp_unit`; raises `InputError` where it is neither one of `UNITS` nor a format of dates."""
    if unit in UNITS:
        return str(unit)
    text = str(unit)
    near = difflib.get_close_matches(text.lower(), UNITS, 1)
    if "%" not in text:
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"timestamp_unit={text}: there is no such unit.{hint} It is one of {', '.join(UNITS)}, or a format of "
            "dates such as '%d/%m/%Y %H:%M:%S'."
        )
    directives = set(re.findall(r"%[-#]?([A-Za-z])", text))
    missing = [name for name, of in (("year", "Yy"), ("month", "mbBj"), ("day", "dj")) if not directives & set(of)]
    if missing:
        raise InputError(
            f"timestamp_unit={text}: a format of dates needs year (%Y), month (%m) and day (%d); it has no "
            f"{missing[0]}."
        )
    if "I" in directives and "p" not in directives:
        raise InputError(f"timestamp_unit={text}: hours of a 12-hour clock (%I) need AM or PM (%p).")
    try:
        pd.to_datetime(pd.Series(["?"]), format=text, errors="coerce")
    except (ValueError, re.error) as error:
        raise InputError(f"timestamp_unit={text}: this is no format of dates ({error}).") from error
    return text


def in_nanoseconds(times: Any) -> Any:
    """A stored time, or an array of them, in nanoseconds: earlier versions stored seconds."""
    if isinstance(times, int):
        return times * SECOND if abs(times) < _SECONDS_BELOW else times
    values = np.asarray(times, np.int64)
    return values * SECOND if len(values) and np.abs(values).max() < _SECONDS_BELOW else values


def iso(time: int) -> str:
    """A time in nanoseconds as text, in as many digits as it has: '2020-09-13 12:26:40.5'."""
    text = str(np.datetime64(int(time), "ns")).replace("T", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_times(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    """The times of a raw column. `where` names file and column.

    Raises `InputError` where the column can be read in more than one way, or mixes ways.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _typed(values)
    if pa.types.is_integer(kind) and unit in _OF_NUMBERS:
        return _integers(values, unit, where)
    if pa.types.is_floating(kind) and unit in _OF_NUMBERS:
        return _floats(values, unit, where)
    if not any(is_kind(kind) for is_kind in _TEXT_OR_NUMBER):
        raise InputError(
            f"{where} holds values of type {kind}, which are no times: a time is a number, a date with or without a "
            "time of day, or a text of either. Name another column, or convert it."
        )
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), None, text)
    if "%" in unit:
        return _formatted(text, unit)
    if unit != "date":
        given = len(text) - text.null_count
        number = pc.match_substring_regex(text, _NUMBER)
        if unit != "auto" or (pc.sum(number).as_py() or 0) > given / 2:
            return _numbers(text, pc.fill_null(number, False), unit, where)
    return _dates(text, where)


# ------------------------------------------------------------------ numbers


def _integers(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    missing = values.is_null().to_numpy(zero_copy_only=False)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    if numbers.dtype == np.uint64:
        numbers = np.minimum(numbers, _MAX)
    numbers = numbers.astype(np.int64, copy=False)
    unit = _unit_of(numbers, unit, where, values)
    return _scaled(numbers, np.zeros(1, np.int64), unit, missing, values)


def _numbers(text: pa.ChunkedArray, number: pa.ChunkedArray, unit: str, where: str) -> Times:
    """Times of numbers in text, exact to the last digit of a nanosecond."""
    readable = text if pc.all(number).as_py() else pc.if_else(number, text, None)
    try:
        return _with_unreadable(_integers(readable.cast(pa.int64()), unit, where), text)
    except pa.ArrowInvalid:
        pass
    floats = pd.to_numeric(readable.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if unit == "auto":
        unit = _unit_of(np.clip(np.nan_to_num(floats), -_MAX_FLOAT, _MAX_FLOAT).astype(np.int64), unit, where, text)
    if unit == "order":
        return _with_unreadable(_floats(pa.chunked_array([floats], pa.float64()), unit, where), text)
    digits = {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit]
    readable = pc.replace_substring_regex(readable, rf"(\.[0-9]{{{digits}}})[0-9]+$", r"\1")
    readable = pc.replace_substring_regex(readable, r"\.$", "")
    try:
        exact = readable.cast(pa.decimal128(38, digits))
    except pa.ArrowInvalid:  # an exponent with more digits than nanoseconds have, or beyond all times
        return _with_unreadable(_floats(pa.chunked_array([floats], pa.float64()), unit, where), text)
    missing = exact.is_null().to_numpy(zero_copy_only=False)
    words = [
        np.frombuffer(chunk.buffers()[1], np.int64)[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
        for chunk in exact.chunks
    ]
    low, high = (np.concatenate([word[i::2] for word in words] or [np.zeros(0, np.int64)]) for i in (0, 1))
    beyond = ~missing & (high != low >> 63)
    low = np.where(missing, 0, np.where(beyond, np.where(high < 0, -_MAX, _MAX), low))
    return Times(pd.arrays.IntegerArray(low, missing), unit, _examples(text, (missing | beyond) & _given(text)))


def _floats(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    """Times of floating-point numbers, which hold microseconds of today and no more."""
    numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = ~np.isfinite(numbers)
    numbers = np.where(missing, 0, np.clip(numbers, -_MAX, _MAX))
    whole = np.floor(numbers)
    part = numbers - whole
    limit = np.float64(_MAX)
    integers = np.where(np.abs(whole) >= limit, np.where(whole < 0, -_MAX, _MAX), 0)
    inside = np.abs(whole) < limit
    integers[inside] = whole[inside].astype(np.int64)
    unit = _unit_of(integers, unit, where, values)
    if unit == "order":
        if part.any():
            row = int(part.argmax())
            raise InputError(
                f"{where}, row {row + 1}: {numbers[row]:.17g} is no position, which is a whole number. With "
                "timestamp_unit=order the column numbers the events; otherwise say timestamp_unit=auto, s, ms, us, ns."
            )
        return _scaled(integers, np.zeros(1, np.int64), unit, missing, values)
    micros = np.rint(part * (10**6 // PER_SECOND[unit]) if unit in ("s", "ms") else part * 0).astype(np.int64)
    return _scaled(integers, micros * 1000, unit, missing, values)


def _unit_of(numbers: np.ndarray, unit: str, where: str, values: pa.ChunkedArray) -> str:
    """The unit of clock readings: the coarsest that puts all of them before the year 5138."""
    if unit != "auto" or len(numbers) == 0:
        return "s" if unit == "auto" else unit
    largest = max(abs(int(numbers.max())), abs(int(numbers.min())))
    unit = next((name for name, n in PER_SECOND.items() if largest <= _SECONDS_LIMIT * n), "ns")
    seconds = numbers // PER_SECOND[unit]
    newest = int(seconds.max())
    oldest, doubtful = _OLDEST // SECOND, _DOUBTFUL // SECOND
    if oldest <= newest < doubtful:
        raise InputError(
            f"{where}: read as {unit}, the newest event is of {iso(newest * SECOND)}, which is unlikely. Where that is "
            f"right, say timestamp_unit={unit}; otherwise convert the column to seconds since 1970, or to dates."
        )
    for coarser in PER_SECOND:
        if coarser == unit:
            break
        of_other = numbers // PER_SECOND[coarser]
        other = (seconds < oldest) & (of_other >= oldest) & (of_other <= _now() // SECOND)
        if other.any() and (seconds >= oldest).any():
            mine, its = int((seconds >= oldest).argmax()), int(other.argmax())
            raise InputError(
                f"{where} mixes units: {values[mine]} (row {mine + 1}) can only be in {unit}, {values[its]} (row "
                f"{its + 1}) only in {coarser}. Convert the column to one unit."
            )
    return unit


def _now() -> int:
    return int(datetime.now(UTC).timestamp() + 86_400) * SECOND


def _scaled(numbers: np.ndarray, nanos: np.ndarray, unit: str, missing: np.ndarray, source: pa.ChunkedArray) -> Times:
    """Times of whole numbers of a unit and nanoseconds on top.

    What 64 bits cannot hold becomes one of the greatest times, each row another one: the gate shall complain of the
    future, and not of events that are there twice as well.
    """
    factor = SECOND // PER_SECOND.get(unit, SECOND)
    if factor == 1:
        return Times(pd.arrays.IntegerArray(numbers, missing), unit, [])
    limit = _MAX // factor - 1
    beyond = (numbers > limit) | (numbers < -limit)
    times = np.clip(numbers, -limit, limit) * factor + nanos
    if beyond.any():
        times[beyond] = np.sign(numbers[beyond]) * (_MAX - np.arange(np.count_nonzero(beyond)))
    return Times(pd.arrays.IntegerArray(times, missing), unit, _examples(source, beyond & ~missing))


def _given(values: pa.ChunkedArray) -> np.ndarray:
    return values.is_valid().to_numpy(zero_copy_only=False)


def _examples(source: pa.ChunkedArray, wrong: np.ndarray) -> list[tuple[int, str]]:
    return [(int(row), str(source[int(row)].as_py())) for row in np.flatnonzero(wrong)[:_EXAMPLES]]


def _with_unreadable(times: Times, text: pa.ChunkedArray) -> Times:
    lost = _examples(text, times.values.isna() & _given(text))
    return Times(times.values, times.unit, sorted([*times.unreadable, *lost]))


# ------------------------------------------------------------------ dates


def _typed(values: pa.ChunkedArray) -> Times:
    """Times of a column of dates; such a column has a unit and at most one time zone, and is stored in UTC."""
    kind = values.type
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_date32(kind):
        numbers, unit = values.cast(pa.int32()).cast(pa.int64()), "s"
    else:
        numbers, unit = values.cast(pa.int64()), "ms" if pa.types.is_date(kind) else kind.unit
    whole = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    whole = whole * 86_400 if pa.types.is_date32(kind) else whole
    return _without_unit(_scaled(whole, np.zeros(1, np.int64), unit, missing, numbers))


def _without_unit(times: Times) -> Times:
    return Times(times.values, None, times.unreadable)


def _formatted(text: pa.ChunkedArray, form: str) -> Times:
    """Times of dates in a format of strptime."""
    found = pd.to_datetime(text.to_pandas(), format=form, errors="coerce", utc=True)
    moments = found.dt.tz_localize(None).to_numpy()
    missing = np.isnat(moments)
    unit = np.datetime_data(moments.dtype)[0]
    whole = np.where(missing, 0, moments.view(np.int64))
    return _without_unit(_with_unreadable(_scaled(whole, np.zeros(1, np.int64), unit, missing, text), text))


_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})\d*)?)?"
    r"(?:\s*(?P<half>[AaPp]\.?[Mm]\.?))?(?:\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
)
_THEN = rf"(?:(?:[Tt]|\s+|,\s*|:){_TIME})?"
_WEEKDAY = r"(?:[A-Za-z]{3,9},?\s+)?"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}


@dataclass(frozen=True)
class _Layout:
    """How a date is written: a pattern whose groups p, q and r are its parts, and what these may be."""

    pattern: str
    orders: tuple[str, ...]
    separator: str


def _layouts() -> Iterator[_Layout]:
    for s in "-/.":
        e = re.escape(s)
        yield _Layout(rf"^(?P<p>\d{{4}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{1,2}}){_THEN}$", ("ymd",), s)
        yield _Layout(rf"^(?P<p>\d{{1,2}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{4}}){_THEN}$", ("dmy", "mdy"), s)
        yield _Layout(rf"^(?P<p>\d{{1,2}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{2}}){_THEN}$", ("dmy", "mdy", "ymd"), s)
    yield _Layout(
        r"^(?P<p>\d{4})(?P<q>\d{2})(?P<r>\d{2})(?:[Tt ]?(?P<hour>\d{2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})"
        r"(?:[.,](?P<fraction>\d{1,9})\d*)?)?(?P<half>)(?:\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?$",
        ("ymd",), "",
    )  # fmt: skip
    name, day = r"[A-Za-z]{3,9}\.?", r"\d{1,2}(?:st|nd|rd|th)?"
    p_day, p_name, q_day, q_name = f"(?P<p>{day})", f"(?P<p>{name})", f"(?P<q>{day})", f"(?P<q>{name})"
    yield _Layout(rf"^{_WEEKDAY}{p_day}[ \-/.]+{q_name},?[ \-/.]+(?P<r>\d{{4}}|\d{{2}}){_THEN}$", ("dmy",), " ")
    yield _Layout(rf"^{_WEEKDAY}{p_name}\s+{q_day},?\s+(?P<r>\d{{4}}){_THEN}$", ("mdy",), " ")
    yield _Layout(rf"^(?P<p>\d{{4}})[ \-/.]{q_name}[ \-/.](?P<r>{day}){_THEN}$", ("ymd",), " ")
    yield _Layout(rf"^{_WEEKDAY}{p_name}\s+{q_day}\s+{_TIME}\s+(?P<r>\d{{4}})$", ("mdy",), " ")


_LAYOUTS = tuple(_layouts())
_TIME_OF_DAY = rf"^{_TIME}$"


@dataclass
class _Parts:
    """What the texts say, one entry a value: date parts, nanoseconds of the day, offset from UTC in minutes."""

    parts: dict[str, np.ndarray]
    clock: np.ndarray
    offset: np.ndarray
    has_offset: np.ndarray
    has_half: np.ndarray
    has_hour: np.ndarray
    has_second: np.ndarray
    readable: np.ndarray


def _dates(text: pa.ChunkedArray, where: str) -> Times:
    """Times of dates in the layout that most of a sample have; what has another one is unreadable."""
    rows = np.flatnonzero(_given(text))
    if len(rows) == 0:
        return Times(pd.arrays.IntegerArray(np.zeros(len(text), np.int64), np.ones(len(text), bool)), None, [])
    sample = text.take(pa.array(rows[:: max(1, len(rows) // _SAMPLE)]))

    def matches(pattern: str) -> int:
        return pc.sum(pc.match_substring_regex(sample, pattern)).as_py()

    if matches(_TIME_OF_DAY) > len(sample) / 2:
        raise InputError(
            f"{where} holds times of day without a date, such as {str(text[rows[0]])!r} (row {rows[0] + 1}): they do "
            "not order events of more than a day. Name a column with dates, or put the dates in front of the times."
        )
    layout = max(_LAYOUTS, key=lambda layout: matches(layout.pattern))
    blocks = [_parts(text.slice(start, _BLOCK), layout) for start in range(0, len(text), _BLOCK)]
    found = _Parts(
        {name: np.concatenate([block.parts[name] for block in blocks]) for name in "pqr"},
        *(np.concatenate([getattr(block, name) for block in blocks])
          for name in ("clock", "offset", "has_offset", "has_half", "has_hour", "has_second", "readable")),
    )  # fmt: skip
    _require_one(found.has_offset & found.readable, found.readable, text, where, "an offset from UTC")
    _require_one(found.has_half & found.readable, found.readable & found.has_hour, text, where, "AM or PM")
    seconds, valid = _settled(found, layout, text, where)
    times = _scaled(seconds - found.offset * 60, found.clock, "s", ~valid, text)
    return _without_unit(_with_unreadable(times, text))


def _require_one(have: np.ndarray, of: np.ndarray, text: pa.ChunkedArray, where: str, what: str) -> None:
    if have.any() and (of & ~have).any():
        one, other = int(have.argmax()), int((of & ~have).argmax())
        raise InputError(
            f"{where}: {str(text[one])!r} (row {one + 1}) has {what} and {str(text[other])!r} (row {other + 1}) has "
            "none. Write all times of the column in one way."
        )


def _parts(text: pa.ChunkedArray, layout: _Layout) -> _Parts:
    found = pc.extract_regex(text.combine_chunks(), layout.pattern)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def strings(name: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(found, name), "")

    def number(name: str) -> np.ndarray:
        values = strings(name)
        return pc.if_else(pc.equal(values, ""), "0", values).cast(pa.int64()).to_numpy(zero_copy_only=False)

    parts = {}
    for place in "pqr":
        if layout.separator == " ":
            values = pc.replace_substring_regex(strings(place), r"(st|nd|rd|th)$", "")
            names = pc.utf8_lower(pc.utf8_slice_codeunits(values, 0, 3))
            months = pc.index_in(names, pa.array(_MONTHS)).fill_null(-1).to_numpy(zero_copy_only=False) + 1
            digits = pc.match_substring_regex(values, r"^\d+$")
            plain = pc.if_else(digits, values, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
            parts[place] = np.where(digits.to_numpy(zero_copy_only=False), plain, months)
        else:
            parts[place] = number(place)
    hour, minute, second = (number(name) for name in ("hour", "minute", "second"))
    fraction = pc.utf8_rpad(strings("fraction"), 9, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    half = _coded(strings("half"), {"": 0, "a": 1, "p": 2}, lambda value: value[:1].lower())
    readable = found.is_valid().to_numpy(zero_copy_only=False) & (minute < 60) & (second < 60)
    readable &= np.where(half > 0, (hour >= 1) & (hour <= 12), hour < 24)
    hour = np.where(half > 0, hour % 12 + 12 * (half == 2), hour)
    zone = strings("zone")
    return _Parts(
        parts,
        clock=((hour * 60 + minute) * 60 + second) * SECOND + fraction,
        offset=_coded(zone, {}, _minutes),
        has_offset=pc.not_equal(zone, "").to_numpy(zero_copy_only=False),
        has_half=half > 0,
        has_hour=pc.not_equal(strings("hour"), "").to_numpy(zero_copy_only=False),
        has_second=pc.not_equal(strings("second"), "").to_numpy(zero_copy_only=False),
        readable=readable,
    )


def _coded(values: pa.Array, codes: dict[str, int], key: Any) -> np.ndarray:
    """A number for every text, computed once for each distinct one."""
    encoded = values.dictionary_encode()
    numbers = [key(text) for text in encoded.dictionary.to_pylist()]
    numbers = [codes[number] for number in numbers] if codes else numbers
    return np.array(numbers or [0], np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]


def _minutes(zone: str) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 60 + int(digits[2:]))


def _seconds(found: _Parts, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Midnight of the dates in seconds since 1970, and which of them exist."""
    named = dict(zip(order, "pqr", strict=True))
    year, month, day = (found.parts[named[part]] for part in "ymd")
    year = np.where(year < 69, year + 2000, np.where(year < 100, year + 1900, year))
    sound = found.readable & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    start = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + np.where(sound, month - 1, 0)
    first = start.astype("datetime64[D]")
    days = first + np.where(sound, day - 1, 0)
    sound &= days.astype("datetime64[M]") == start
    return days.astype(np.int64) * 86_400, sound


def _settled(found: _Parts, layout: _Layout, text: pa.ChunkedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the dates in the one order of day, month and year that all values allow, and which are readable."""
    readings = {order: _seconds(found, order) for order in layout.orders}
    some = np.logical_or.reduce([valid for _, valid in readings.values()])
    fits = {order: reading for order, reading in readings.items() if not (some & ~reading[1]).any()}
    if not fits:
        rows = {order: int((some & ~valid).argmax()) for order, (_, valid) in readings.items()}
        shown = [f"{str(text[row])!r} (row {row + 1}) is not {_ORDERS[order]}" for order, row in rows.items()]
        raise InputError(f"{where} mixes dates of different conventions: {', '.join(shown)}. Write all in one way.")
    # The order that puts no event into the future, where that tells them apart.
    possible = {
        order: reading for order, reading in fits.items()
        if not (reading[1] & ((reading[0] > _now() // SECOND) | (reading[0] < _OLDEST // SECOND))).any()
    } or fits  # fmt: skip
    (best, chosen), *others = possible.items()
    for other, reading in others:
        differ = some & (reading[0] != chosen[0])
        if differ.any():
            row = int(differ.argmax())
            forms = [_form(order, layout.separator, found, row) for order in (best, other)]
            days = [f"{np.datetime64(int(seconds[row]), 's').astype('datetime64[D]')} ({_ORDERS[order]})"
                    for order, seconds in ((best, chosen[0]), (other, reading[0]))]  # fmt: skip
            raise InputError(
                f"{where}: {str(text[row])!r} (row {row + 1}) is {days[0]} or {days[1]}, and no value of the column "
                f"decides. Say which with timestamp_unit='{forms[0]}' or timestamp_unit='{forms[1]}' "
                f"({_WAY_OUT.format(forms[0])})."
            )
    return chosen


def _form(order: str, separator: str, found: _Parts, row: int) -> str:
    """The format of strptime for a value."""
    year = "%y" if found.parts[dict(zip(order, "pqr", strict=True))["y"]][row] < 100 else "%Y"
    date = separator.join(year if part == "y" else f"%{part}" for part in order)
    if not found.has_hour[row]:
        return date
    clock = int(found.clock[row])
    seconds = f":%S{'.%f' if clock % SECOND else ''}" if found.has_second[row] else ""
    time = f"%I:%M{seconds} %p" if found.has_half[row] else f"%H:%M{seconds}"
    return f"{date} {time}{' %z' if found.has_offset[row] else ''}"
