"""The score of cold items by their categories: its formula, and that it is learnt, stored, refitted and refreshed."""

import logging
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.explanation import explain
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.refit import rebuilt, whole_log
from pinet_kedro.fitting.refresh import refreshed
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.categories import CategoryProfile
from pinet_kedro.plugins.config import CategoriesConfig, PluginTraining
from pinet_kedro.randomness import Generators
from pinet_kedro.recommender import Recommender, new_recommender
from prepared import as_dataset

QUICK = {"folds": 2, "memory_search": None, "hard_candidates": 40, "random_candidates": 40}
WITH = PluginTraining(**QUICK, scorers={"categories": {}})
CATEGORIES = [["a"], ["a", "b"], ["c"], []]


def profile(counts, categories=CATEGORIES, **settings):
    matrix = as_dataset(None, None, len(counts), categories=categories).categories
    return CategoryProfile(matrix, np.array(counts), CategoriesConfig(**settings))


def test_the_score_is_the_formula():
    """60 events: 40 + 12 have category a, 12 have b, 4 have c, and 4 have none."""
    scorer = profile([40, 12, 4, 4], coldness=6, shrinkage=2, window=3)
    found = scorer.term(np.array([[3, 3, 1, 4, 2], [0, 0, 0, 0, 4], [0, 0, 0, 0, 0]]))
    share = {"a": 52 / 56, "b": 12 / 56, "c": 4 / 56}
    # The three newest are 1, 4 and 2: two with categories, both with a, one with b.
    odds = {g: log((k + 2 * share[g]) / ((2 + 2) * share[g])) for g, k in {"a": 2, "b": 1, "c": 0}.items()}
    expected = [6 / 46 * odds["a"], 6 / 18 * (odds["a"] + odds["b"]) / 2, 6 / 10 * odds["c"], 0]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert not found[1:].any()  # a history without categories, and none


def test_an_item_that_the_other_scorers_know_gets_nearly_nothing():
    many = profile([10**6, 10**6, 10**6, 0]).term(np.array([[1, 1, 1]]))
    few = profile([0, 0, 0, 9], [["a"], ["a", "b"], ["c"], ["b", "c"]]).term(np.array([[1, 1, 1]]))
    assert many.abs().max() < 1e-4
    assert few[0, 0] > few[0, 1] > few[0, 2]  # the category of the history, one of two, another one
    assert few[0, 0] > 0 > few[0, 2]


def test_the_score_is_finite_where_nothing_is_known():
    assert torch.isfinite(profile([0, 0, 0, 0]).term(np.array([[1, 1, 1]]))).all()  # no training event at all
    assert not profile([0, 0, 0, 4]).term(np.array([[0, 4, 4]])).any()


def tastes(users=400, cold=12):
    """Users who take four of five items from one of four categories. The first `cold` of 48 items, twelve of each
    category in turn, are in no history before its last two events."""
    rng = np.random.default_rng(5)
    taste, length = rng.integers(0, 4, users), 14
    category = np.where(rng.random((users, length)) < 0.8, taste[:, None], rng.integers(0, 4, (users, length)))
    warm = category + 4 * rng.integers(cold // 4, 12, category.shape)
    any_item = category + 4 * rng.integers(0, 12, category.shape)
    items = 1 + np.where(np.arange(length) < length - 2, warm, any_item)
    sequences = Sequences(items.ravel().astype(np.int32), np.arange(items.size), np.arange(0, items.size + 1, length))
    split = split_sequences(sequences, Splitting(), ExcludeSeen(False))
    return as_dataset(sequences, split, 48, categories=[["abcd"[j % 4]] for j in range(48)])


@pytest.fixture(scope="module")
def world():
    return tastes()


@pytest.fixture(scope="module")
def models(world, small_training):
    """By whether categories are used; with the plugins alone, since the backbone is not trained."""
    backbone = build_backbone(small_training.backbone, world.n_items, Generators(0))
    bare, found = new_recommender(backbone, world), {}
    for used, config in ((False, PluginTraining(**QUICK, backbone=False)), (True, replace_backbone(WITH))):
        scorers = build_scorers(world, bare.popularity, config)
        found[used] = replace(bare, plugins=fit_plugins(backbone, world, scorers, config)[0])
    return found


def replace_backbone(config):
    return config.model_copy(update={"backbone": False})


def test_cold_items_of_a_taste_are_found(world, models):
    assert world.split.item_counts(world.sequences, 48)[:12].sum() == 0
    users, at = world.test_users, world.split.test_at[world.test_users]
    cold = world.sequences.items[world.sequences.offsets[users] + at] <= 12
    without, ranks = (target_ranks(models[used], world.sequences, users, at, False).rank for used in (False, True))
    assert np.mean(ranks[cold]) < 0.8 * np.mean(without[cold])
    assert np.mean(np.log(ranks)) < np.mean(np.log(without))  # a place gained is one lost by another item
    assert (models[True].plugins.weights()["categories"] > 0).all()


def test_without_categories_nothing_changes(world, models, caplog):
    bare = replace(world, items=world.items[["item_id"]])
    config = replace_backbone(WITH)
    with caplog.at_level(logging.WARNING):
        scorers = build_scorers(bare, models[True].popularity, config)
    assert "'categories' is left out" in caplog.text
    assert scorers.names == ("memory", "factors", "popularity", "recency")
    plugins, _ = fit_plugins(models[True].backbone, bare, scorers, config)
    assert torch.equal(plugins.theta, models[False].plugins.theta)


def test_contributions_sum_to_the_score(models):
    found = explain(models[True], ["13", "17", "21"], 48)
    for item in found.items:
        assert sum(item.contributions.values()) == pytest.approx(item.score, abs=1e-4)
    assert any(item.contributions["categories"] > 0 for item in found.items if int(item.item) <= 12)


def test_a_stored_model_answers_the_same(models, tmp_path):
    models[True].save(tmp_path)
    histories = [["13", "17", "21"], ["14"], []]
    loaded = Recommender.load(tmp_path)
    assert loaded.recommend(histories, k=48) == models[True].recommend(histories, k=48)
    assert loaded.shares_evidence(models[True])


def test_a_refit_and_a_refresh_count_the_same(world, models):
    """Both have all events; what the factors learn anew stays out of it."""
    everything = whole_log(world)
    again = rebuilt(models[True], models[True].backbone, everything).plugins.scorers.others["categories"]
    assert again.counts.sum() == len(world.sequences.items) > models[True].popularity.counts.sum()
    known = world.sequences.between(np.zeros(world.n_users, np.int64), world.split.train_end)
    counted = refreshed(models[True], known, world.sequences).plugins.scorers.others["categories"]
    histories = np.array([[13, 17, 1]])
    assert torch.equal(counted.term(histories), again.term(histories))
    assert counted.counts.tolist() == again.counts.tolist()
