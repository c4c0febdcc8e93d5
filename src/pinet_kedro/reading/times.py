"""A column of times with one interpretation: nanoseconds since 1970 (UTC), or positions, as `timestamp_unit` says.

All values of a column have one unit or one date format, and either all have an offset from UTC or none has (then they
are UTC). All values together determine it; an ambiguous column is refused, with its possible readings. The resolution
of the source is kept, down to the nanosecond.
"""

import difflib
import re

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.errors import InputError
from pinet_kedro.reading.clock_readings import read_floats, read_integers, read_number_texts
from pinet_kedro.reading.dates import read_dates, read_formatted, read_typed
from pinet_kedro.reading.nanoseconds import PER_SECOND
from pinet_kedro.reading.time_values import Times

UNITS = ("auto", "s", "ms", "us", "ns", "date", "order")

_UNITS_OF_NUMBERS = {"auto", "order", *PER_SECOND}
_DIGITS = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_NUMBER = rf"^{_DIGITS}(?:[eE][+-]?[0-9]+)?$"
_TEXT_OR_NUMBER = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null,
)  # fmt: skip


def check_unit(unit: object) -> str:
    """The `timestamp_unit`. Raises `InputError` unless it is one of `UNITS` or a date format of strptime."""
    if unit in UNITS:
        return str(unit)
    text = str(unit)
    near = difflib.get_close_matches(text.lower(), UNITS, 1)
    if "%" not in text:
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"timestamp_unit={text}: there is no such unit.{hint} It is one of {', '.join(UNITS)}, or a date format "
            "such as '%d/%m/%Y %H:%M:%S'."
        )
    directives = set(re.findall(r"%[-#]?([A-Za-z])", text))
    missing = [name for name, of in (("year", "Yy"), ("month", "mbBj"), ("day", "dj")) if not directives & set(of)]
    if missing:
        raise InputError(
            f"timestamp_unit={text}: a date format needs year (%Y), month (%m) and day (%d); it has no {missing[0]}."
        )
    if "I" in directives and "p" not in directives:
        raise InputError(f"timestamp_unit={text}: hours of a 12-hour clock (%I) need AM or PM (%p).")
    try:
        pd.to_datetime(pd.Series(["?"]), format=text, errors="coerce")
    except (ValueError, re.error) as error:
        raise InputError(f"timestamp_unit={text}: this is not a date format ({error}).") from error
    return text


def read_times(values: pa.ChunkedArray, unit: str, where: str) -> Times:
    """The times of a raw column; `where` names file and column in messages.

    Raises `InputError` if the column can be read in more than one way, or mixes ways.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return read_typed(values)
    if pa.types.is_integer(kind) and unit in _UNITS_OF_NUMBERS:
        return read_integers(values, unit, where)
    if pa.types.is_floating(kind) and unit in _UNITS_OF_NUMBERS:
        return read_floats(values, unit, where)
    if not any(is_kind(kind) for is_kind in _TEXT_OR_NUMBER):
        raise InputError(
            f"{where} holds values of type {kind}, which are not times: a time is a number, a date with or without a "
            "time of day, or a text of either. Name another column, or convert it."
        )
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), None, text)
    if "%" in unit:
        return read_formatted(text, unit)
    if unit != "date":
        given = len(text) - text.null_count
        is_number = pc.match_substring_regex(text, _NUMBER)
        if unit != "auto" or (pc.sum(is_number).as_py() or 0) > given / 2:
            return read_number_texts(text, pc.fill_null(is_number, False), unit, where)
    return read_dates(text, where)
