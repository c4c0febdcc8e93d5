"""How dates are written: the patterns that are recognised, and the numbers in a text that matches one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pinet_kedro.reading.nanoseconds import SECOND

_BLOCK = 2**20  # texts at a time
_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9})\d*)?)?"
    r"(?:\s*(?P<half>[AaPp]\.?[Mm]\.?))?(?:\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
)
_THEN = rf"(?:(?:[Tt]|\s+|,\s*|:){_TIME})?"
_WEEKDAY = r"(?:[A-Za-z]{3,9},?\s+)?"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

TIME_OF_DAY = rf"^{_TIME}$"


@dataclass(frozen=True)
class Layout:
    """A pattern whose groups p, q and r are the parts of a date, and the possible `orders` of these parts.

    `orders` are permutations of y, m and d; month names need the separator " ".
    """

    pattern: str
    orders: tuple[str, ...]
    separator: str


def _layouts() -> Iterator[Layout]:
    for s in "-/.":
        e = re.escape(s)
        yield Layout(rf"^(?P<p>\d{{4}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{1,2}}){_THEN}$", ("ymd",), s)
        yield Layout(rf"^(?P<p>\d{{1,2}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{4}}){_THEN}$", ("dmy", "mdy"), s)
        yield Layout(rf"^(?P<p>\d{{1,2}}){e}(?P<q>\d{{1,2}}){e}(?P<r>\d{{2}}){_THEN}$", ("dmy", "mdy", "ymd"), s)
    yield Layout(
        r"^(?P<p>\d{4})(?P<q>\d{2})(?P<r>\d{2})(?:[Tt ]?(?P<hour>\d{2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})"
        r"(?:[.,](?P<fraction>\d{1,9})\d*)?)?(?P<half>)(?:\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?$",
        ("ymd",), "",
    )  # fmt: skip
    name, day = r"[A-Za-z]{3,9}\.?", r"\d{1,2}(?:st|nd|rd|th)?"
    p_day, p_name, q_day, q_name = f"(?P<p>{day})", f"(?P<p>{name})", f"(?P<q>{day})", f"(?P<q>{name})"
    yield Layout(rf"^{_WEEKDAY}{p_day}[ \-/.]+{q_name},?[ \-/.]+(?P<r>\d{{4}}|\d{{2}}){_THEN}$", ("dmy",), " ")
    yield Layout(rf"^{_WEEKDAY}{p_name}\s+{q_day},?\s+(?P<r>\d{{4}}){_THEN}$", ("mdy",), " ")
    yield Layout(rf"^(?P<p>\d{{4}})[ \-/.]{q_name}[ \-/.](?P<r>{day}){_THEN}$", ("ymd",), " ")
    yield Layout(rf"^{_WEEKDAY}{p_name}\s+{q_day}\s+{_TIME}\s+(?P<r>\d{{4}})$", ("mdy",), " ")


LAYOUTS = tuple(_layouts())


@dataclass
class DateParts:
    """The numbers in texts of one layout, one entry per text.

    `parts` are p, q and r; `clock` is the time of day in nanoseconds, `offset` that from UTC in minutes. The `has_…`
    fields say what a text contains, and `readable` whether it matches the layout and names a possible time of day.
    """

    parts: dict[str, np.ndarray]
    clock: np.ndarray
    offset: np.ndarray
    has_offset: np.ndarray
    has_half: np.ndarray
    has_hour: np.ndarray
    has_second: np.ndarray
    readable: np.ndarray


def parse(text: pa.ChunkedArray, layout: Layout) -> DateParts:
    """The numbers in all texts."""
    blocks = [_parse_block(text.slice(start, _BLOCK), layout) for start in range(0, len(text), _BLOCK)]
    return DateParts(
        {name: np.concatenate([block.parts[name] for block in blocks]) for name in "pqr"},
        *(np.concatenate([getattr(block, name) for block in blocks])
          for name in ("clock", "offset", "has_offset", "has_half", "has_hour", "has_second", "readable")),
    )  # fmt: skip


def _parse_block(text: pa.ChunkedArray, layout: Layout) -> DateParts:
    found = pc.extract_regex(text.combine_chunks(), layout.pattern)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def strings(name: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(found, name), "")

    def number(name: str) -> np.ndarray:
        values = strings(name)
        return pc.if_else(pc.equal(values, ""), "0", values).cast(pa.int64()).to_numpy(zero_copy_only=False)

    parts = {place: _day_or_month(strings(place)) if layout.separator == " " else number(place) for place in "pqr"}
    hour, minute, second = (number(name) for name in ("hour", "minute", "second"))
    fraction = pc.utf8_rpad(strings("fraction"), 9, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    half = _coded(strings("half"), {"": 0, "a": 1, "p": 2}, lambda value: value[:1].lower())
    readable = found.is_valid().to_numpy(zero_copy_only=False) & (minute < 60) & (second < 60)
    readable &= np.where(half > 0, (hour >= 1) & (hour <= 12), hour < 24)
    hour = np.where(half > 0, hour % 12 + 12 * (half == 2), hour)
    zone = strings("zone")
    return DateParts(
        parts,
        clock=((hour * 60 + minute) * 60 + second) * SECOND + fraction,
        offset=_coded(zone, {}, _minutes),
        has_offset=pc.not_equal(zone, "").to_numpy(zero_copy_only=False),
        has_half=half > 0,
        has_hour=pc.not_equal(strings("hour"), "").to_numpy(zero_copy_only=False),
        has_second=pc.not_equal(strings("second"), "").to_numpy(zero_copy_only=False),
        readable=readable,
    )


def _day_or_month(texts: pa.Array) -> np.ndarray:
    """The number of a day such as '3rd', a year, or a month such as 'March'; 0 for any other word."""
    values = pc.replace_substring_regex(texts, r"(st|nd|rd|th)$", "")
    names = pc.utf8_lower(pc.utf8_slice_codeunits(values, 0, 3))
    months = pc.index_in(names, pa.array(_MONTHS)).fill_null(-1).to_numpy(zero_copy_only=False) + 1
    digits = pc.match_substring_regex(values, r"^\d+$")
    numbers = pc.if_else(digits, values, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.where(digits.to_numpy(zero_copy_only=False), numbers, months)


def _coded(values: pa.Array, codes: dict[str, int], key: Any) -> np.ndarray:
    """A number for every text, computed once per distinct text."""
    encoded = values.dictionary_encode()
    numbers = [key(text) for text in encoded.dictionary.to_pylist()]
    numbers = [codes[number] for number in numbers] if codes else numbers
    return np.array(numbers or [0], np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]


def _minutes(zone: str) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 60 + int(digits[2:]))
