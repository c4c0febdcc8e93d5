"""A refresh equals building the scorers again from all events."""

from dataclasses import replace

import numpy as np
import pytest

from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.refit import rebuilt, whole_log
from pinet_kedro.fitting.refresh import refreshed
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.plugins.config import MemoryConfig, PluginTraining
from pinet_kedro.recommender import new_recommender


def of_users(sequences, users):
    """The histories of these users only."""
    part = sequences.where(np.repeat(users, sequences.lengths))
    return Sequences(part.items, part.timestamps, np.concatenate([[0], np.cumsum(sequences.lengths[users])]))


@pytest.fixture(scope="module", params=["newest", "anywhere"])
def grown(request, planted_world, joint_backbone):
    """A model, the histories that it has learnt, and the same with new events at the end or anywhere."""
    dataset = planted_world.dataset
    sequences, rng = dataset.sequences, np.random.default_rng(0)
    if request.param == "newest":
        old = sequences.timestamps < np.quantile(sequences.timestamps, 0.8)
    else:
        old = rng.random(len(sequences.items)) < 0.8
    old &= np.repeat(np.arange(sequences.n_users) >= 5, sequences.lengths)  # five users are new
    known = sequences.where(old)
    learnt = replace(dataset, sequences=known, split=dataset.split.learning(known.lengths))
    config = PluginTraining(folds=2, memory_search=None, memory=MemoryConfig(max_lag=3))
    alone = new_recommender(joint_backbone, learnt)
    plugins, _ = fit_plugins(joint_backbone, dataset, build_scorers(learnt, alone.popularity, config), config)
    return replace(alone, plugins=plugins), known, whole_log(dataset)


def test_counts_and_memory_are_those_of_all_events(grown):
    model, known, everything = grown
    changed = known.lengths < everything.sequences.lengths
    now = of_users(everything.sequences, changed)
    again = refreshed(model, of_users(known, changed), now)
    expected = rebuilt(model, model.backbone, everything)
    np.testing.assert_array_equal(again.popularity.counts, expected.popularity.counts)
    np.testing.assert_array_equal(again.popularity.recent, expected.popularity.recent)
    mine, theirs = (m.plugins.scorers.memory.matrix for m in (again, expected))
    np.testing.assert_array_equal(mine.indices, theirs.indices)
    np.testing.assert_array_equal(mine.indptr, theirs.indptr)
    np.testing.assert_allclose(mine.data, theirs.data, rtol=1e-5)
    assert abs(mine - model.plugins.scorers.memory.matrix).max() > 0.01  # the new events make a difference


def test_what_is_trained_stays(grown):
    model, known, everything = grown
    again = refreshed(model, known, everything.sequences)
    assert again.backbone is model.backbone
    assert again.plugins.theta is model.plugins.theta
    assert again.plugins.scorers.others["factors"] is model.plugins.scorers.others["factors"]


def test_without_new_events_nothing_changes(grown):
    model, known, _ = grown
    again = refreshed(model, known, known)
    assert (again.popularity.counts == model.popularity.counts).all()
    mine, before = (m.plugins.scorers.memory.matrix for m in (again, model))
    np.testing.assert_array_equal(mine.indices, before.indices)
    np.testing.assert_allclose(mine.data, before.data, rtol=1e-6)


def test_a_model_without_plugins_gets_new_popularity(planted_world, joint_backbone):
    dataset = planted_world.dataset
    model = new_recommender(joint_backbone, dataset)
    known = dataset.sequences.where(dataset.split.in_training(dataset.sequences))
    again = refreshed(model, known, dataset.sequences)
    assert again.popularity.counts.sum() == len(dataset.sequences.items)
