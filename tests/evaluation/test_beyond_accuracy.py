"""Measures beyond accuracy: by hand, against loops, and on lists whose answer is known."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.beyond_accuracy import (
    CATALOGUE_MEASURES,
    ItemFacts,
    beyond_accuracy,
    catalogue_measures,
    item_facts,
    list_measures,
    targets,
    user_measures,
)
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.comparison import compare, compare_as_shipped, metrics_table
from pinet_kedro.evaluation.intervals import mean_differences
from pinet_kedro.evaluation.ranks import Ranks, rank_models
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from prepared import as_dataset

POPULARITY = ItemFacts(np.array([8, 4, 2, 2, 0]), bound=2)  # 16 events: p = 1/2, 1/4, 1/8, 1/8, 0
LISTS = np.array([[1, 2, 3], [1, 5, 0]])


def test_measures_of_lists_by_hand():
    found = list_measures(LISTS, POPULARITY)
    np.testing.assert_allclose(found["novelty_at_10"], [(1 + 2 + 3) / 3, (1 + 4) / 2])  # item 5 as if it had one event
    np.testing.assert_allclose(found["popularity_at_10"], [14 / 3, 4])
    np.testing.assert_allclose(found["long_tail_share_at_10"], [1 / 3, 1 / 2])


def test_measures_of_the_catalogue_by_hand():
    found = catalogue_measures(LISTS, 5)  # exposures 2, 1, 1, 0, 1
    assert found["coverage_at_10"] == pytest.approx(4 / 5)
    assert found["gini_at_10"] == pytest.approx((-4 * 0 - 2 * 1 + 0 * 1 + 2 * 1 + 4 * 2) / (5 * 5))


def test_gini_is_half_the_relative_mean_difference():
    top = np.random.default_rng(0).integers(0, 31, (50, 10))
    counts = np.bincount(top.ravel(), minlength=31)[1:31]
    expected = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert catalogue_measures(top, 30)["gini_at_10"] == pytest.approx(expected)


def test_gini_is_zero_for_equal_exposure_and_one_item_takes_all():
    assert catalogue_measures(np.arange(1, 31).reshape(3, 10), 30)["gini_at_10"] == pytest.approx(0)
    assert catalogue_measures(np.full((3, 1), 7), 30)["gini_at_10"] == pytest.approx(1 - 1 / 30)


def log_of(counts):
    """A user of two events for every training event of an item; the second one is item 1."""
    items = np.repeat(np.arange(1, len(counts) + 1, dtype=np.int32), counts)
    one = np.ones(len(items), np.int64)
    sequences = Sequences(np.stack([items, one], 1).ravel().astype(np.int32), np.zeros(2 * len(items), np.int64),
                          np.arange(0, 2 * len(items) + 1, 2))  # fmt: skip
    return as_dataset(sequences, Split(one, 0 * one - 1, one, one), len(counts))


@pytest.mark.parametrize(
    ("counts", "bound"),
    [
        ([80, 10, 6, 4], 10),  # exactly 20 %
        ([68, 10, 10, 8, 4], 8),  # 12 %; with the two items of 10 events it would be 32 %
        ([50, 10, 10, 10, 10, 10], 0),  # 50 % or nothing, which is nearer
        ([50, 50, 0], 0),  # none but the item that nobody had
        ([90, 9, 1], 9),  # 10 %, nearer than 1 %
    ],
)
def test_the_long_tail_is_the_last_fifth_of_the_training_events(counts, bound):
    found = item_facts(log_of(counts))
    np.testing.assert_array_equal(found.events, counts)
    assert found.bound == bound
    np.testing.assert_array_equal(found.long_tail, np.array(counts) <= bound)
    told = found.described()["long_tail_items"]
    assert told["items"] == found.long_tail.sum()
    assert told["share_of_training_events"] == pytest.approx(sum(c for c in counts if c <= bound) / sum(counts))


def test_accuracy_on_items_is_that_of_the_users_with_such_a_target():
    ranks = Ranks(np.array([1.0, 3.0, 20.0]), np.full(3, 30), np.array([[1], [2], [3]]))
    found = user_measures(ranks, np.array([0, 3, 2]), POPULARITY)
    np.testing.assert_allclose(found["ndcg_at_10_popular_items"], [1, math.nan, math.nan])
    np.testing.assert_allclose(found["ndcg_at_10_long_tail_items"], [math.nan, 0.5, 0])
    np.testing.assert_allclose(found["hr_at_10_long_tail_items"], [math.nan, 1, 0])


def test_cold_items_have_fewer_than_five_training_events():
    items = ItemFacts(np.array([5, 4, 0, 9, 9]), bound=5)
    ranks = Ranks(np.array([1.0, 2.0, 20.0, 1.0]), np.full(4, 30), LISTS[[0, 0, 1, 1]])
    found = user_measures(ranks, np.arange(4), items)
    np.testing.assert_allclose(found["hr_at_10_cold_items"], [math.nan, 1, 0, math.nan])
    np.testing.assert_allclose(found["ndcg_at_10_cold_items"], [math.nan, 1 / math.log2(3), 0, math.nan])
    assert items.described()["cold_items"] == {
        "items": 2, "most_training_events": 4, "share_of_training_events": pytest.approx(4 / 27),
    }  # fmt: skip


def test_an_interval_needs_ten_users():
    """Of one cold target a resample is always the same: its interval would have no width."""
    for users, measured in ((9, False), (10, True)):
        values = np.full((1, 30), np.nan)
        values[0, :users] = np.arange(users)
        [[found]] = mean_differences([(values, np.zeros((1, 30)))])
        assert found["difference"] == np.arange(users).mean()
        assert (found["low"] is not None) == (found["high"] is not None) == measured


def test_diversity_is_there_where_items_have_categories(ranked):
    w, ranks = ranked
    name, users = "category_diversity_at_10", w.dataset.test_users
    assert all(name not in groups["all"] for groups in compare(ranks, w.dataset)["models"].values())
    categories = [[f"{j % 5}"] for j in range(w.n_items)]
    named = replace(w.dataset, items=w.dataset.items.assign(categories=categories))
    found = compare(ranks, named)
    pin = ranks[ranks["model"] == "pin"].set_index("user").loc[users, [f"top_{k}" for k in range(1, 11)]].to_numpy()
    differ = [np.mean([a % 5 != b % 5 for a, b in combinations(items, 2)]) for items in pin.tolist()]
    assert found["models"]["pin"]["all"][name] == pytest.approx(np.mean(differ))
    for group in ("all", "head", "tail"):
        ours, base = (found["models"][model][group][name] for model in ("pin", "base"))
        of_pin = found["comparisons"]["pin_vs_base"][group][name]
        assert of_pin["difference"] == pytest.approx(ours - base)
        assert of_pin["low"] <= of_pin["difference"] <= of_pin["high"]


@pytest.fixture(scope="module")
def ranked(planted_world, joint_backbone):
    """Popularity as the base and a trained backbone as PIN: it recommends rarer items."""
    w = planted_world
    models = {"base": PopularityScorer(w.popularity), "pin": BackboneScorer(joint_backbone)}
    return w, rank_models(models | {f"refit_{name}": model for name, model in models.items()}, w.dataset)


def test_an_evaluation_has_them_by_group_as_a_loop_finds_them(ranked):
    w, ranks = ranked
    evaluation = compare(ranks, w.dataset)
    events = item_facts(w.dataset).events
    pin = ranks[ranks["model"] == "pin"]
    for group, mask in w.strata.groups(w.dataset.activeness[pin["user"]]).items():
        found = evaluation["models"]["pin"][group]
        if group not in ("all", "head", "tail"):
            assert "gini_at_10" not in found
            continue
        lists = pin.loc[mask, [f"top_{k}" for k in range(1, 11)]].to_numpy().tolist()
        shown = {item for items in lists for item in items if item}
        assert found["coverage_at_10"] == pytest.approx(len(shown) / w.n_items)
        means = [np.mean([events[item - 1] for item in items if item]) for items in lists]
        assert found["popularity_at_10"] == pytest.approx(np.mean(means))


def test_a_model_that_recommends_rarer_items_shows_it(ranked):
    w, ranks = ranked
    found = compare(ranks, w.dataset)["comparisons"]["pin_vs_base"]["all"]
    assert found["popularity_at_10"]["high"] < 0 < found["novelty_at_10"]["low"]
    assert found["long_tail_share_at_10"]["low"] > 0
    assert found["coverage_at_10"]["difference"] > 0 > found["gini_at_10"]["difference"]
    assert all(found[name]["low"] is None for name in CATALOGUE_MEASURES)
    assert compare_as_shipped(ranks, w.dataset)["comparisons"]["pin_vs_base"]["all"] == found


def test_a_model_does_not_differ_from_itself(ranked):
    w, ranks = ranked
    base = ranks[ranks["model"] == "base"]
    twice = pd.concat([base, base.assign(model="pin")])
    found = compare(twice, w.dataset)["comparisons"]["pin_vs_base"]
    assert {group: set(values) for group, values in found.items()} == {group: set(found["all"]) for group in found}
    entries = [entry for values in found.values() for name, entry in values.items() if name != "ndcg_at_10"]
    assert {entry["difference"] for entry in entries} <= {0.0, None}


def test_a_group_without_such_targets_has_none(planted_world):
    """Every target is popular: there is no accuracy on long-tail items, and it is no number in the table."""
    w = planted_world
    users = w.dataset.test_users
    target = targets(w.dataset, users)
    popular = np.flatnonzero(~item_facts(w.dataset).long_tail[target])
    ranks = Ranks(np.ones(len(popular)), np.full(len(popular), 9), np.ones((len(popular), 10), np.int32))
    models, differences = beyond_accuracy({"base": ranks, "pin": ranks}, users[popular], w.dataset)
    assert models["pin"]["all"]["ndcg_at_10_popular_items"] == 1
    assert models["pin"]["all"]["ndcg_at_10_long_tail_items"] is None
    assert differences["pin"]["all"]["ndcg_at_10_long_tail_items"] == {"difference": None, "low": None, "high": None}
    assert models["pin"]["all"]["targets_long_tail_items"] == models["pin"]["all"]["targets_cold_items"] == 0
    assert models["pin"]["all"]["targets_popular_items"] == len(popular)
    assert metrics_table({"models": models})["ndcg_at_10_long_tail_items"].isna().all()


def test_ranks_of_an_earlier_version_are_refused(ranked):
    w, ranks = ranked
    with pytest.raises(InputError, match=r"no lists of first items.*kedro run --pipeline=evaluation"):
        compare(ranks[["model", "user", "rank", "candidates"]], w.dataset)
