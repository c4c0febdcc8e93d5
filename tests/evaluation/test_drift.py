"""Drift of new events against a model's training data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.evaluation.drift import EventsInMemory, divergence, measure_drift
from pinet_kedro.recommender import Recommender

THEN = {"head": 0.2, "tail": 0.1}


@pytest.fixture(scope="module")
def model(planted_world, joint_backbone):
    w = planted_world
    return Recommender(joint_backbone, w.strata, w.popularity, w.item_ids)


@pytest.fixture(scope="module")
def halves(planted_world):
    """The events before and after the median time."""
    events = planted_world.events[["user_id", "item_id", "timestamp"]]
    old = events["timestamp"] <= events["timestamp"].median()
    return events[old], events[~old]


def test_divergence_is_zero_for_the_same_and_one_for_disjoint_shares():
    p, q = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.5, 0.5])
    assert divergence(p, p) == pytest.approx(0)
    assert divergence(p, q) == pytest.approx(1)
    half = np.array([0.5, 0.0, 0.5, 0.0])
    assert divergence(p, half) == pytest.approx(0.5)  # H = 1.5 bits of the mean, 1 of each


def test_unknown_users_and_items_are_shares_of_users_items_and_events(model, halves):
    old, new = halves
    first = new.head(100)
    strangers = first.head(20).assign(user_id="nobody", item_id="never seen")
    drift = measure_drift(model, "3", EventsInMemory(old), pd.concat([first, strangers]), THEN)
    known_users = first["user_id"].isin(old["user_id"])
    assert drift.unknown_users_events == pytest.approx(((~known_users).sum() + 20) / 120)
    assert drift.unknown_items_events == pytest.approx(20 / 120)
    assert drift.unknown_items == pytest.approx(1 / (first["item_id"].nunique() + 1))


def test_only_a_real_change_of_popularity_exceeds_the_divergence_by_chance(model, halves):
    old, _ = halves
    same = old.sample(1000, replace=True, random_state=1)
    equal = measure_drift(model, "3", EventsInMemory(old), same, THEN).popularity
    assert equal.divergence < 1.3 * equal.by_chance
    assert equal.rank_correlation > 0.9
    fashion = same.assign(
        item_id=np.where(np.arange(1000) % 2, old["item_id"].value_counts().index[-1], same["item_id"])
    )
    shifted = measure_drift(model, "3", EventsInMemory(old), fashion, THEN).popularity
    assert shifted.divergence > 10 * shifted.by_chance


def test_the_model_is_ranked_on_the_first_new_event_of_users_with_a_history(model, halves):
    old, new = halves
    drift = measure_drift(replace(model, exclude_seen=False), "3", EventsInMemory(old), new, THEN)
    back = set(old["user_id"]) & set(new["user_id"])
    assert drift.targets == len(back)
    first = new.drop_duplicates("user_id").query("user_id in @back")
    had = first.merge(old[["user_id", "item_id"]].drop_duplicates(), on=["user_id", "item_id"])
    assert 0 < len(had) < len(back)
    assert measure_drift(model, "3", EventsInMemory(old), new, THEN).targets == len(back) - len(had)
    assert drift.groups["all"]["users"] == drift.targets
    assert drift.groups["all"]["challenger"] > 1.5 * drift.groups["all"]["reference"]  # it has learned the chain
    assert drift.then == THEN
    assert all((values["gain"]["low"] is None) == (values["hits"] < 10) for values in drift.groups.values())


def test_a_gain_of_few_users_has_no_interval(model, halves):
    old, new = halves
    few = new[new["user_id"].isin(sorted(set(old["user_id"]) & set(new["user_id"]))[:9])]
    gain = measure_drift(replace(model, exclude_seen=False), "3", EventsInMemory(old), few, THEN).groups["all"]["gain"]
    assert gain["relative"] is not None
    assert gain["low"] is gain["high"] is None


def test_without_newer_events_nothing_is_ranked_and_the_reason_is_given(model, halves):
    drift = measure_drift(model, "3", EventsInMemory(halves[1]), halves[0], THEN)
    assert drift.groups == {}
    assert "nothing to rank" in drift.missing[0]


def test_users_are_routed_by_their_training_events(model, halves):
    old, new = halves
    strata = measure_drift(model, "3", EventsInMemory(old), new.assign(user_id="nobody"), THEN).activeness.strata
    assert strata["tail"][1] == 1.0
    assert strata["head"][1] == 0.0
    assert strata["head"][0] + strata["tail"][0] == pytest.approx(1)
