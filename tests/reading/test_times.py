"""All values of a time column decide how it is read; the resolution is kept; an ambiguous column is refused."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Cleaning, Columns, clean_events, read_interactions
from pinet_kedro.interactions.sequences import build_sequences
from pinet_kedro.reading.nanoseconds import in_nanoseconds, iso
from pinet_kedro.reading.times import UNITS, check_unit, read_times

START = 1_600_000_000_000_000_000  # 2020-09-13 12:26:40
SECONDS = [1_600_000_000, 1_600_003_661, 1_599_955_200]
NS = [second * 10**9 for second in SECONDS]
DATES = ["2020-09-13 12:26:40", "2020-09-13 13:27:41", "2020-09-13 00:00:00"]


def times(values, unit="auto", kind=None):
    """The times of a column; None where a time is missing."""
    values = values if isinstance(values, pa.Array) else pa.array(values, kind)
    found = read_times(pa.chunked_array([values]), unit, "log.csv: column 'time'").values
    return [None if pd.isna(value) else int(value) for value in found]


def refusal(values, unit="auto"):
    with pytest.raises(InputError, match=r"^log\.csv: column 'time'") as error:
        times(values, unit)
    return str(error.value)


def texts(stamps, form):
    return [stamp.strftime(form) for stamp in stamps]


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize("unit", ["auto", "named"])
@pytest.mark.parametrize(("name", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("form", [int, float, str, lambda n: f"{n}.0", lambda n: f"{n:.9e}"])
def test_clock_readings_give_the_same_times_in_every_unit_and_type(unit, name, factor, form):
    assert times([form(s * factor) for s in SECONDS], "auto" if unit == "auto" else name) == NS


@pytest.mark.parametrize(
    ("text", "unit", "nanoseconds"),
    [
        ("1600000000.9", "s", 900_000_000),
        ("1600000000.123456789", "s", 123_456_789),
        ("1600000000.1234567891234", "s", 123_456_789),
        ("1600000000.", "s", 0),
        ("1.6000000005e9", "s", 500_000_000),
        ("1600000000123", "ms", 123_000_000),
        ("1600000000123.456789", "ms", 123_456_789),
        ("1600000000123456.789", "us", 123_456_789),
        ("1600000000123456789", "ns", 123_456_789),
    ],
)
def test_fractions_are_kept_to_the_nanosecond(text, unit, nanoseconds):
    assert times([text], unit) == times([text]) == [START + nanoseconds]


@pytest.mark.parametrize(("bits", "warned"), [(32, True), (64, False)])
def test_floating_point_numbers_that_have_lost_seconds_are_reported(caplog, bits, warned):
    with caplog.at_level("WARNING"):
        times(pa.array(np.array([np.nan, 1.7e9, 1.7e9 + 60], f"float{bits}")), "auto")
    assert ("of 32 bits, in which the newest times are 128 apart" in caplog.text) is warned


def test_floating_point_numbers_keep_microseconds():
    assert times([1_600_000_000.123456, 1_600_000_000.9]) == [START + 123_456_000, START + 900_000_000]
    assert times([1_600_000_000_123.456]) == [START + 123_456_000]


def test_decimals_and_unsigned_integers_are_exact():
    assert times([decimal.Decimal("1600000000.123456789")]) == [START + 123_456_789]
    assert times([1_600_000_000_123_456_789], kind=pa.uint64()) == [START + 123_456_789]


@given(st.lists(st.integers(10**9, 4 * 10**9 - 1), min_size=1, max_size=20), st.integers(0, 10**9 - 1))
@settings(max_examples=60, deadline=None)
def test_seconds_in_text_lose_no_digit(seconds, fraction):
    assert times([f"{s}.{fraction:09d}" for s in seconds], "s") == [s * 10**9 + fraction for s in seconds]


def test_mixed_units_are_refused_with_a_row_of_each():
    message = refusal([1_600_000_000, 1_600_000_001, 1_600_000_002_000])
    assert "1600000002000 (row 3) can only be in ms" in message
    assert "1600000000 (row 1) only in s" in message


@pytest.mark.parametrize("number", [637_356_304_000_000_000, 662_688_000])
def test_a_count_since_another_epoch_is_refused(number):
    assert "1990" in refusal([number]) or "1991" in refusal([number])
    assert times([662_688_000], "s") == [662_688_000 * 10**9]


def test_positions_are_kept():
    assert (
        times([0, 1, 2], "order") == times(["0", "1", "2.0"], "order") == times([0.0, 1.0, 2.0], "order") == [0, 1, 2]
    )
    assert "row 2: 1.5 is not a position" in refusal([1.0, 1.5], "order")
    assert "row 2: 1.5 is not a position" in refusal(["1", "1.5"], "order")


def test_positions_are_marked_as_not_clock_readings(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,a,0\nu,b,1\n")
    found = read_interactions(tmp_path / "log.csv", Columns(), "order")
    assert found.events["timestamp"].tolist() == [0, 1]
    assert not found.origin.clock


def test_a_time_beyond_nanoseconds_becomes_the_greatest_time_and_keeps_its_text():
    found = read_times(pa.chunked_array([[10**10, 1_600_000_000]]), "s", "x")
    assert found.values[0] > 9 * 10**18
    assert found.unreadable == [(0, "10000000000")]
    far = read_times(pa.chunked_array([["9999-12-31", "2020-09-13"]]), "auto", "x")
    assert far.values[0] > 9 * 10**18
    assert far.unreadable == [(0, "9999-12-31")]


def test_unreadable_times_are_null_and_reported_with_their_row():
    found = read_times(pa.chunked_array([["1600000000", "soon", None, "1600000002"]]), "auto", "x")
    assert found.values.isna().tolist() == [False, True, True, False]
    assert found.unreadable == [(1, "soon")]


# ------------------------------------------------------------------ dates

SPREAD = [dt.datetime(2020, 9, 13, 12, 26, 40) + dt.timedelta(days=5 * n, seconds=n) for n in range(40)]
EXACT = [int(stamp.replace(tzinfo=dt.UTC).timestamp()) * 10**9 for stamp in SPREAD]
SETTLED = [
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S+00:00",
    "%Y/%m/%d %H:%M:%S", "%Y.%m.%d %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S", "%m-%d-%Y %H:%M:%S", "%d/%m/%Y, %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S%p",
    "%d %b %Y %H:%M:%S", "%d %B %Y %H:%M:%S", "%b %d, %Y %H:%M:%S", "%B %d, %Y, %I:%M:%S %p", "%d-%b-%Y %H:%M:%S",
    "%d-%b-%y %H:%M:%S", "%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S +0000 %Y",
    "%d/%b/%Y:%H:%M:%S +0000", "%Y%m%dT%H%M%S", "%Y%m%dT%H:%M:%SZ", "%Y-%b-%d %H:%M:%S", "%A, %d %B %Y %H:%M:%S",
]  # fmt: skip


@pytest.mark.parametrize("form", SETTLED)
def test_dates_that_determine_their_format_are_read(form):
    assert times(texts(SPREAD, form)) == EXACT


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m.%d.%Y", "%Y-%m-%d", "%d %b %Y", "%Y/%m/%d"])
def test_days_without_a_time_are_midnight(form):
    assert times(texts(SPREAD, form)) == [time - time % (86_400 * 10**9) for time in EXACT]


def test_times_of_day_may_end_with_minutes():
    assert times(["13/09/2020 12:26", "13/9/2020 1:05"]) == [
        START - 40 * 10**9,
        START - (11 * 3600 + 21 * 60 + 40) * 10**9,
    ]


@pytest.mark.parametrize("digits", range(1, 10))
def test_fractions_of_dates_are_kept(digits):
    fraction = "123456789"[:digits]
    expected = [START + int(fraction.ljust(9, "0"))]
    assert times([f"2020-09-13T12:26:40.{fraction}Z"]) == expected
    assert times([f"13.09.2020 12:26:40,{fraction}"]) == expected
    assert times([f"13/09/2020 12:26:40.{fraction}"], "%d/%m/%Y %H:%M:%S.%f") == expected


def test_a_date_may_omit_parts_that_are_zero():
    mixed = ["2020-09-13T12:26:40.5", "2020-09-13T12:26:40", "2020-09-13", "2020-09-13 13:27"]
    assert times(mixed) == [START + 500_000_000, START, 1_599_955_200 * 10**9, 1_600_003_620 * 10**9]


def test_offsets_are_converted_to_utc():
    assert times(["2020-09-13T12:26:40Z", "2020-09-13 14:26:40+02:00", "2020-09-13 06:56:40-0530"]) == [START] * 3


def test_times_with_and_without_an_offset_are_refused():
    message = refusal(["2020-09-13T12:26:40Z", "2020-09-13 14:26:40"])
    assert "'2020-09-13T12:26:40Z' (row 1) has an offset from UTC" in message
    assert "(row 2) has none" in message


def test_hours_with_and_without_am_and_pm_are_refused():
    assert "AM or PM" in refusal(["09/13/2020 01:00 PM", "09/13/2020 13:00"])


def test_noon_and_midnight_of_a_twelve_hour_clock():
    day = 1_599_955_200 * 10**9
    assert times(["9/13/2020 12:00 AM", "9/13/2020 12:00 PM", "9/13/2020 1:00 p.m."]) == [
        day, day + 12 * 3600 * 10**9, day + 13 * 3600 * 10**9
    ]  # fmt: skip


AMBIGUOUS = {
    "%d/%m/%Y %H:%M:%S": ["01/02/2020 10:00:00", "03/04/2020 10:00:00"],
    "%d.%m.%Y": ["01.02.2020", "03.04.2020"],
    "%d-%m-%y": ["01-02-03", "04-05-06"],
    "%d/%m/%Y %H:%M": ["01/02/2020 10:00", "03/04/2020 10:00"],
    "%d/%m/%Y %I:%M:%S %p": ["01/02/2020 10:00:00 AM", "03/04/2020 10:00:00 PM"],
    "%d/%m/%Y %H:%M:%S.%f %z": ["01/02/2020 10:00:00.5 +01:00", "03/04/2020 10:00:00.5 +01:00"],
}


@pytest.mark.parametrize("form", AMBIGUOUS)
def test_ambiguous_dates_are_refused_with_two_readings_and_the_parameter_that_decides(form):
    message = refusal(AMBIGUOUS[form])
    assert f"{AMBIGUOUS[form][0]!r} (row 1) is" in message
    assert "(day first) or" in message
    assert "(month first)" in message
    assert f"timestamp_unit='{form}'" in message
    assert f"--params=\"…,timestamp_unit='{form}'\"" in message
    times(AMBIGUOUS[form], form)  # the proposed parameter works
    assert None not in times(AMBIGUOUS[form], form)


def test_dates_that_are_the_same_in_both_orders_are_read():
    assert times(["02/02/2020", "03/03/2020"]) == times(["2020-02-02", "2020-03-03"])


def test_dates_of_two_conventions_are_refused_with_a_row_of_each():
    message = refusal(["13/02/2020", "01/02/2020", "02/13/2020"])
    assert "'02/13/2020' (row 3) is not day first" in message
    assert "'13/02/2020' (row 1) is not month first" in message


def test_an_order_that_gives_future_dates_is_excluded():
    year = dt.datetime.now(dt.UTC).year % 100
    found = times([f"31/12/{year - 1}", f"01/02/{year - 1}"])
    assert found == times([f"20{year - 1}-12-31", f"20{year - 1}-02-01"])


@pytest.mark.parametrize(
    "word", ["now", "today", "yesterday", "99/99/2020", "2020-02-30", "25:61", "NaT", "2020-13-01"]
)
def test_a_text_that_is_not_a_date_is_null_and_reported(word):
    found = read_times(pa.chunked_array([[*DATES, word]]), "auto", "x")
    assert found.values.tolist()[:3] == NS
    assert pd.isna(found.values[3])
    assert found.unreadable == [(3, word)]


@pytest.mark.parametrize("values", [["01:39:35", "20:23:01"], ["1:39 AM", "11:00 PM"], ["01:39:35.5", None]])
def test_times_of_day_are_refused(values):
    assert "times of day without a date" in refusal(values)


def test_a_declared_format_reads_ambiguous_dates():
    values = ["01/02/2020 10:00:00", "03/04/2020 10:00:00", "x"]
    assert times(values, "%d/%m/%Y %H:%M:%S") == [1_580_551_200 * 10**9, 1_585_908_000 * 10**9, None]
    assert times(values, "%m/%d/%Y %H:%M:%S") == [1_577_959_200 * 10**9, 1_583_316_000 * 10**9, None]


def test_dates_written_as_numbers_are_dates_when_declared():
    assert times([20200913, 20200914], "date") == [1_599_955_200 * 10**9, 1_600_041_600 * 10**9]
    assert times(["20200913122640"], "date") == [START]


# ------------------------------------------------------------------ types of Parquet


@pytest.mark.parametrize("unit", UNITS)
def test_typed_dates_do_not_depend_on_the_unit(unit):
    stamps = pd.to_datetime(DATES)
    for step in ("s", "ms", "us", "ns"):
        assert times(pa.array(stamps.as_unit(step)), unit) == NS
    assert times(pa.array(stamps.tz_localize("UTC").tz_convert("Asia/Kolkata")), unit) == NS


def test_typed_days_are_midnight():
    days = [dt.date(2020, 9, 13), None]
    assert times(pa.array(days)) == times(pa.array(days, pa.date64())) == [1_599_955_200 * 10**9, None]


def test_categories_and_other_text_types_are_text():
    assert times(pa.array(DATES).dictionary_encode()) == NS
    for kind in (pa.large_string(), pa.string_view(), pa.binary()):
        assert times(pa.array(DATES).cast(kind)) == NS
    assert times(pa.array([None, None])) == [None, None]


NO_TIMES = [
    pa.array([dt.time(1, 2, 3)]), pa.array([dt.timedelta(seconds=1)]), pa.array([True]), pa.array([[1]]),
    pa.array([{"a": 1}]),
]  # fmt: skip


@pytest.mark.parametrize("values", NO_TIMES, ids=lambda values: str(values.type))
def test_types_that_are_not_times_are_refused(values):
    assert "which are not times" in refusal(values)


# ------------------------------------------------------------------ the parameter


@pytest.mark.parametrize("unit", [*UNITS, "%d/%m/%Y %H:%M:%S", "%Y%j", "%d %b %y", "%Y-%m-%dT%I:%M %p%z"])
def test_units_and_formats_are_accepted(unit):
    assert check_unit(unit) == unit


WRONG = {
    "foo": "one of auto, s, ms", "S": "Did you mean 's'?", "milliseconds": "no such unit", "": "no such unit",
    "7": "unit",
    "%H:%M": "it has no year", "%d/%m": "no year", "%Y-%m": "no day", "%Y-%m-%d %Q": "not a date format",
    "%d/%m/%Y %I:%M": "AM or PM",
}  # fmt: skip


@pytest.mark.parametrize("unit", WRONG)
def test_unknown_units_are_refused_with_the_list_of_units(unit):
    with pytest.raises(InputError, match=f"timestamp_unit={unit}") as error:
        check_unit(unit)
    assert WRONG[unit] in str(error.value)


# ------------------------------------------------------------------ what follows


def test_a_log_with_the_newest_event_first_gives_ordered_histories(tmp_path):
    stamps = [1_600_000_000_000 + 137 * n for n in range(30)]
    frame = pd.DataFrame({"user_id": "u", "item_id": [f"i{n:02d}" for n in range(30)], "timestamp": stamps})
    frame[::-1].to_csv(tmp_path / "log.csv", index=False)
    sequences, _, items = build_sequences(read_interactions(tmp_path / "log.csv", Columns()).events)
    assert list(items[sequences.items - 1]) == frame["item_id"].tolist()


def test_events_within_a_second_are_not_duplicates(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u,i,1500000000{n}00\n" for n in (1, 6, 9))
    )
    left, report = clean_events(
        read_interactions(tmp_path / "log.csv", Columns()).events, Cleaning(min_user_events=3, min_item_events=1)
    )
    assert len(left) == 3
    assert report["rows"].sum() == 0


def test_times_stored_by_earlier_versions_are_read_as_seconds():
    assert in_nanoseconds(1_600_000_000) == in_nanoseconds(START) == START
    assert in_nanoseconds(np.array([1_600_000_000, 1])).tolist() == [START, 10**9]
    assert in_nanoseconds(np.array([START, 1])).tolist() == [START, 1]
    assert len(in_nanoseconds(np.array([], np.int64))) == 0


def test_text_of_a_time_has_as_many_digits_as_the_time():
    assert [iso(START + n) for n in (0, 500_000_000, 1)] == [
        "2020-09-13 12:26:40", "2020-09-13 12:26:40.5", "2020-09-13 12:26:40.000000001"
    ]  # fmt: skip
