"""Times order a history, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinet_kedro.asking import oldest_first
from pinet_kedro.errors import InputError


@given(st.lists(st.integers(-3, 3) | st.sampled_from([0.5, -0.5, 1e3, 2**60, 2**60 + 1]), max_size=20))
def test_items_with_equal_times_stay_in_their_order(times):
    history = [f"i{n}" for n in range(len(times))]
    order = sorted(range(len(times)), key=lambda place: times[place])  # stable
    assert oldest_first(history, list(map(repr, times)), 0) == [history[place] for place in order]


@pytest.mark.parametrize(
    "times",
    [
        ["2026-11-30", "2026-11-29", "2026-12-01"],
        ["2026-11-30T08:00:00+02:00", "2026-11-30T05:59:59Z", "2026-11-30T06:00:01+00:00"],
        ["2026-11-30T08:00:00.000000002", "2026-11-30T08:00:00.000000001", "2026-11-30 08:00:00.00000001"],
        ["10", "9.5", "1e2"],
    ],
)
def test_dates_and_numbers_are_read_in_full(times):
    assert oldest_first(["b", "a", "c"], times, 0) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["1"], "row 4, times: 1 times for a history of 2 items"),
        (["1", "soon"], "row 4, times.1: 'soon' is no time"),
        (["nan", "1"], "row 4, times.0: 'nan' is no time"),
        (["1", "None"], "row 4, times.1: 'None' is no time"),
        (["1", "2026-11-30"], r"row 4, times.1: '2026-11-30' is a date without an offset .* and '1' is a number"),
        (["2026-11-30", "2026-11-30T00:00Z"], "times.1: .* with an offset .* without an offset"),
    ],
)
def test_a_wrong_time_is_refused_with_row_and_value(times, words):
    with pytest.raises(InputError, match=words):
        oldest_first(["a", "b"], times, 4)
