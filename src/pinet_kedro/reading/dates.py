"""Times that are dates: typed ones, texts in a declared format, and texts whose format all values together decide."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.errors import InputError
from pinet_kedro.reading.date_layouts import LAYOUTS, TIME_OF_DAY, DateParts, Layout, parse
from pinet_kedro.reading.nanoseconds import SECOND
from pinet_kedro.reading.time_values import OLDEST, Times, is_given, scaled, tomorrow, with_unreadable, without_unit

_SAMPLE = 1000  # texts that choose the layout
_WAY_OUT = (
    "with --params=\"…,timestamp_unit='{}'\" in the environments csv, duckdb and spark, otherwise in the catalog entry"
)
_ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}


def read_typed(values: pa.ChunkedArray) -> Times:
    """Times of a column with a date type: it has one unit and at most one time zone, and is stored in UTC."""
    kind = values.type
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_date32(kind):
        numbers, unit = values.cast(pa.int32()).cast(pa.int64()), "s"
    else:
        numbers, unit = values.cast(pa.int64()), "ms" if pa.types.is_date(kind) else kind.unit
    whole = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    whole = whole * 86_400 if pa.types.is_date32(kind) else whole
    return without_unit(scaled(whole, np.zeros(1, np.int64), unit, missing, numbers))


def read_formatted(text: pa.ChunkedArray, form: str) -> Times:
    """Times of texts in a format of strptime."""
    found = pd.to_datetime(text.to_pandas(), format=form, errors="coerce", utc=True)
    moments = found.dt.tz_localize(None).to_numpy()
    missing = np.isnat(moments)
    unit = np.datetime_data(moments.dtype)[0]
    whole = np.where(missing, 0, moments.view(np.int64))
    return without_unit(with_unreadable(scaled(whole, np.zeros(1, np.int64), unit, missing, text), text))


def read_dates(text: pa.ChunkedArray, where: str) -> Times:
    """Times of texts in the layout of most values in a sample; a value in another layout is unreadable.

    Raises `InputError` if the values do not decide the order of day and month, or mix conventions.
    """
    rows = np.flatnonzero(is_given(text))
    if len(rows) == 0:
        return Times(pd.arrays.IntegerArray(np.zeros(len(text), np.int64), np.ones(len(text), bool)), None, [])
    sample = text.take(pa.array(rows[:: max(1, len(rows) // _SAMPLE)]))

    def matches(pattern: str) -> int:
        return pc.sum(pc.match_substring_regex(sample, pattern)).as_py()

    if matches(TIME_OF_DAY) > len(sample) / 2:
        raise InputError(
            f"{where} holds times of day without a date, such as {str(text[rows[0]])!r} (row {rows[0] + 1}): they do "
            "not order events of more than a day. Name a column with dates, or put the dates in front of the times."
        )
    layout = max(LAYOUTS, key=lambda layout: matches(layout.pattern))
    found = parse(text, layout)
    _require_all(found.has_offset & found.readable, found.readable, text, where, "an offset from UTC")
    _require_all(found.has_half & found.readable, found.readable & found.has_hour, text, where, "AM or PM")
    order, (seconds, valid) = _in_one_order(found, layout, text, where)
    times = scaled(seconds - found.offset * 60, found.clock, "s", ~valid, text)
    parts = [f"layout {LAYOUTS.index(layout) + 1}, {_ORDERS[order]}"]
    parts += ["with an offset from UTC"] * bool(found.has_offset.any()) + ["with AM or PM"] * bool(found.has_half.any())
    return replace(without_unit(with_unreadable(times, text)), form=", ".join(parts))


def _require_all(have: np.ndarray, of: np.ndarray, text: pa.ChunkedArray, where: str, what: str) -> None:
    """Raises `InputError` if some of the texts `of` have it and others do not."""
    if have.any() and (of & ~have).any():
        one, other = int(have.argmax()), int((of & ~have).argmax())
        raise InputError(
            f"{where}: {str(text[one])!r} (row {one + 1}) has {what} and {str(text[other])!r} (row {other + 1}) has "
            "none. Write all times of the column in one way."
        )


def _in_one_order(
    found: DateParts, layout: Layout, text: pa.ChunkedArray, where: str
) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """The one order of day, month and year that suits all values; midnights in seconds, and which are readable."""
    readings = {order: _midnights(found, order) for order in layout.orders}
    some = np.logical_or.reduce([valid for _, valid in readings.values()])
    fits = {order: reading for order, reading in readings.items() if not (some & ~reading[1]).any()}
    if not fits:
        rows = {order: int((some & ~valid).argmax()) for order, (_, valid) in readings.items()}
        against = [f"{str(text[row])!r} (row {row + 1}) is not {_ORDERS[order]}" for order, row in rows.items()]
        raise InputError(f"{where} mixes dates of different conventions: {', '.join(against)}. Write all in one way.")
    # An order that puts an event into the future or before 1990 is out, unless all orders do.
    possible = {
        order: reading for order, reading in fits.items()
        if not (reading[1] & ((reading[0] > tomorrow() // SECOND) | (reading[0] < OLDEST // SECOND))).any()
    } or fits  # fmt: skip
    (best, chosen), *others = possible.items()
    for other, reading in others:
        differ = some & (reading[0] != chosen[0])
        if differ.any():
            row = int(differ.argmax())
            forms = [_format_of(order, layout.separator, found, row) for order in (best, other)]
            days = [f"{np.datetime64(int(seconds[row]), 's').astype('datetime64[D]')} ({_ORDERS[order]})"
                    for order, seconds in ((best, chosen[0]), (other, reading[0]))]  # fmt: skip
            raise InputError(
                f"{where}: {str(text[row])!r} (row {row + 1}) is {days[0]} or {days[1]}, and no value of the column "
                f"decides. Choose with timestamp_unit='{forms[0]}' or timestamp_unit='{forms[1]}' "
                f"({_WAY_OUT.format(forms[0])})."
            )
    return best, chosen


def _midnights(found: DateParts, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Midnight of the dates in seconds since 1970, and which of the dates exist."""
    named = dict(zip(order, "pqr", strict=True))
    year, month, day = (found.parts[named[part]] for part in "ymd")
    year = np.where(year < 69, year + 2000, np.where(year < 100, year + 1900, year))
    exists = found.readable & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    start = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + np.where(exists, month - 1, 0)
    first = start.astype("datetime64[D]")
    days = first + np.where(exists, day - 1, 0)
    exists &= days.astype("datetime64[M]") == start
    return days.astype(np.int64) * 86_400, exists


def _format_of(order: str, separator: str, found: DateParts, row: int) -> str:
    """The strptime format of one value."""
    year = "%y" if found.parts[dict(zip(order, "pqr", strict=True))["y"]][row] < 100 else "%Y"
    date = separator.join(year if part == "y" else f"%{part}" for part in order)
    if not found.has_hour[row]:
        return date
    clock = int(found.clock[row])
    seconds = f":%S{'.%f' if clock % SECOND else ''}" if found.has_second[row] else ""
    time = f"%I:%M{seconds} %p" if found.has_half[row] else f"%H:%M{seconds}"
    return f"{date} {time}{' %z' if found.has_offset[row] else ''}"
