"""Cleaning: each rule, and the count of dropped events."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Cleaning, clean_events


def log_of(pairs, **columns):
    """Canonical events of (user, item) pairs, one a second by default."""
    user, item = zip(*pairs, strict=True) if pairs else ((), ())
    frame = pd.DataFrame({"user_id": pd.Series(user, dtype="string"), "item_id": pd.Series(item, dtype="string")})
    frame["timestamp"] = pd.Series(range(len(pairs)), dtype="Int64")
    return frame.assign(**columns)


def test_cleaning_counts_what_each_rule_drops():
    core = [(u, i) for u in "abc" for i in "xyz"]  # every user 3 events, every item 3
    pairs = [*core, ("a", "x"), ("d", "x"), ("d", "y"), ("d", "rare"), ("e", "bad")]
    events = log_of(pairs, rating=[5.0] * 13 + [1.0])
    events.loc[9, "timestamp"] = 0  # the first event again
    left, table = clean_events(events, Cleaning(rating_threshold=3, min_user_events=3, min_item_events=2))
    assert list(zip(left["user_id"], left["item_id"], strict=True)) == core
    assert table["rule"].tolist() == ["rating threshold", "exact duplicates", "k-core"]
    # 'rare' has one event; without it user d has two, and goes with both.
    assert table[["rows", "users", "items"]].to_numpy().tolist() == [[1, 1, 1], [1, 0, 0], [3, 1, 1]]
    assert left.index.tolist() == list(range(9))
    assert left["timestamp"].dtype == np.int64


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_an_event_without_one_of_the_three_is_an_error(column):
    """A suite that was edited may let it pass."""
    events = log_of([("a", "x")] * 5)
    events.loc[3, column] = pd.NA
    with pytest.raises(InputError, match=r"log\.csv: an event has no user, no item or no time"):
        clean_events(events, Cleaning(), "log.csv")


def test_a_repeat_at_another_time_is_not_a_duplicate():
    events = log_of([("a", "x")] * 5)
    left, _ = clean_events(events, Cleaning(min_user_events=5, min_item_events=5))
    assert len(left) == 5


def test_threshold_keeps_its_own_value_and_drops_the_unrated():
    events = log_of([("a", "x")] * 5, rating=[3.0, 4.0, 2.9, np.nan, 5.0])
    left, table = clean_events(events, Cleaning(rating_threshold=3, min_user_events=3, min_item_events=1))
    assert left["rating"].tolist() == [3, 4, 5]
    assert table.set_index("rule").loc["rating threshold", "rows"] == 2


def test_threshold_without_ratings_is_an_input_error():
    with pytest.raises(InputError, match="no rating column"):
        clean_events(log_of([("a", "x")] * 5), Cleaning(rating_threshold=3))


def test_cleaning_keeps_order_and_names_its_source_and_spares_its_input():
    events = log_of([("b", "x"), ("a", "y")] * 3).iloc[::-1]
    before = events.copy()
    left, table = clean_events(events, Cleaning(min_user_events=3, min_item_events=1), "data/log.csv")
    assert left["user_id"].tolist() == ["a", "b"] * 3
    assert set(table["source"]) == {"log.csv"}
    pd.testing.assert_frame_equal(events, before)


def test_cleaning_may_leave_nothing():
    left, table = clean_events(log_of([("a", "x"), ("b", "y")]), Cleaning())
    assert len(left) == 0
    assert table["rows"].tolist() == [0, 2]


def naive_core(pairs, min_user, min_item):
    """Removes one event at a time until none breaks a rule."""
    left = list(enumerate(pairs))
    while True:
        users, items = Counter(u for _, (u, _) in left), Counter(i for _, (_, i) in left)
        broken = [e for e in left if users[e[1][0]] < min_user or items[e[1][1]] < min_item]
        if not broken:
            return [at for at, _ in left]
        left.remove(broken[-1])


@settings(max_examples=80, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")), max_size=40),
    min_user=st.integers(3, 6),
    min_item=st.integers(1, 6),
)
def test_core_is_the_largest_fixed_point(pairs, min_user, min_item):
    left, _ = clean_events(log_of(pairs), Cleaning(min_user_events=min_user, min_item_events=min_item))
    assert left["timestamp"].tolist() == naive_core(pairs, min_user, min_item)
