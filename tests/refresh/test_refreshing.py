"""A refresh finds what is new for the champion, and judges it on events that neither has learnt."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.activeness import Stratification
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.dataset import build_dataset
from pinet_kedro.errors import InputError
from pinet_kedro.fitting.refit import rebuilt, whole_log
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.randomness import Generators
from pinet_kedro.recommender import new_recommender
from pinet_kedro.refresh.growth import find_growth
from pinet_kedro.refresh.refresh import refresh
from pinet_kedro.registry.loading import VersionModels
from pinet_kedro.retraining.champion import Champion

CLEANING = Cleaning()


def dataset_of(events):
    dataset, _ = build_dataset(clean_events(events, CLEANING)[0], Splitting(), ExcludeSeen(False), Stratification())
    return dataset


@pytest.fixture(scope="module")
def log(planted_world):
    """Events that the champion has learnt, with users whom cleaning leaves out, and newer ones of its items."""
    events = planted_world.events
    newer = events["timestamp"] >= events["timestamp"].quantile(0.8)
    rare = pd.DataFrame({"user_id": ["rare"] * 2, "item_id": events["item_id"].iloc[:2].tolist(), "timestamp": [1, 2]})
    learnt = pd.concat([events[~newer], rare], ignore_index=True)
    return learnt, events[newer & events["item_id"].isin(dataset_of(learnt).item_ids)]


@pytest.fixture(scope="module")
def champion(log, small_training):
    dataset = whole_log(dataset_of(log[0]))
    backbone = build_backbone(small_training.backbone, dataset.n_items, Generators(0))
    return replace(new_recommender(backbone, dataset), exclude_seen=False)


def learnt_until(model, events):
    """A version with this model, which has learnt all events until the last of these."""
    return Champion("1", VersionModels(model, model, int(events["timestamp"].max())), {}, {})


def test_known_and_new_events_are_those_of_the_indexed_logs(log, champion):
    learnt, new = log
    growth = find_growth(champion, learnt, new, CLEANING)
    before, after = dataset_of(learnt), dataset_of(pd.concat(log))
    assert (growth.users, growth.events) == (after.n_users, len(after.sequences.items))
    assert growth.new_events == len(after.sequences.items) - len(before.sequences.items)
    again = rebuilt(champion, champion.backbone, whole_log(after))
    models, _ = refresh(learnt_until(champion, learnt), growth, 0.5)
    np.testing.assert_array_equal(models.served.popularity.counts, again.popularity.counts)
    np.testing.assert_array_equal(models.served.popularity.recent, again.popularity.recent)


def test_targets_are_newer_than_what_either_model_has_learnt(log, champion):
    learnt, new = log
    since = int(learnt["timestamp"].max())
    growth = find_growth(champion, learnt, new, CLEANING)
    models, dataset = refresh(learnt_until(champion, learnt), growth, 0.5)
    assert since <= models.judged_until < dataset.first_target <= models.served_until == new["timestamp"].max()
    assert models.unseen(dataset.first_target) is models.judged
    assert (dataset.split.test_at > 0).sum() > 5
    assert models.judged.popularity.counts.sum() < models.served.popularity.counts.sum()
    fresh = dataset.sequences.timestamps[dataset.sequences.timestamps > since]
    assert np.mean(fresh >= dataset.first_target) == pytest.approx(0.5, abs=0.02)


def test_a_log_that_the_champion_has_not_learnt_is_refused(log, champion):
    learnt, new = log
    with pytest.raises(InputError, match=r"is not the one that the champion has learnt: it has counted [\d,]+ events"):
        find_growth(champion, learnt.iloc[10:], new, CLEANING)


def test_events_with_unknown_items_are_counted_and_wait(log, champion):
    learnt, new = log
    strange = new.assign(item_id="never seen").iloc[:7]
    growth = find_growth(champion, learnt, pd.concat([new, strange]), CLEANING)
    assert (growth.unknown_events, growth.unknown_items) == (7, 1)
    assert growth.new_events == find_growth(champion, learnt, new, CLEANING).new_events


def test_events_that_come_twice_count_once(log, champion):
    learnt, new = log
    once = find_growth(champion, learnt, new, CLEANING)
    twice = find_growth(champion, learnt, pd.concat([learnt.iloc[-50:], new, new]), CLEANING)
    np.testing.assert_array_equal(once.now.items, twice.now.items)
    assert once.new_events == twice.new_events


def test_late_events_alone_cannot_be_judged(log, champion):
    learnt, new = log
    growth = find_growth(champion, learnt, new, CLEANING)
    with pytest.raises(InputError, match="no new event is newer than what the champion has learnt"):
        refresh(learnt_until(champion, new), growth, 0.5)
