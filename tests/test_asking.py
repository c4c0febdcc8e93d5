"""Times order a history, and nothing else; scores order the items, and of equal ones, their numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pinet_kedro.asking import best_columns, oldest_first
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
        ["1700000000.1234567", "1700000000.1234566", "1700000000.1234568"],
    ],
)
def test_dates_and_numbers_are_read_in_full(times):
    assert oldest_first(["b", "a", "c"], times, 0) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["1"], "row 4, times: 1 times for a history of 2 items"),
        (["1", "soon"], "row 4, times.1: 'soon' is no time"),
        (["1e" + "9" * 20, "1"], "row 4, times.0: '1e9.* is no time"),
        (["nan", "1"], "row 4, times.0: 'nan' is no time"),
        (["1", "None"], "row 4, times.1: 'None' is no time"),
        (["1", "2026-11-30"], r"row 4, times.1: '2026-11-30' is a date without an offset .* and '1' is a number"),
        (["2026-11-30", "2026-11-30T00:00Z"], "times.1: .* with an offset .* without an offset"),
    ],
)
def test_a_wrong_time_is_refused_with_row_and_value(times, words):
    with pytest.raises(InputError, match=words):
        oldest_first(["a", "b"], times, 4)


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, -np.inf]), min_size=7, max_size=7), min_size=1, max_size=4))
def test_the_best_columns_are_the_first_of_a_stable_order_for_every_k(rows):
    """A user who is asked for with a user who wants more items gets the same ones, and so do fallbacks of batches."""
    scores = torch.tensor(rows)
    order = scores.sort(dim=1, descending=True, stable=True)
    for k in range(1, 9):
        found, columns = best_columns(scores, k)
        there = found > -torch.inf
        assert torch.equal(found, order.values[:, :k])
        assert torch.equal(columns[there], order.indices[:, :k][there])


def test_a_score_that_is_not_a_number_stays_the_first():
    found, _ = best_columns(torch.tensor([[1.0, torch.nan, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]), 2)
    assert found.isnan().tolist() == [[True, False], [False, False]]
