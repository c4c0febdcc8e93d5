"""The Dataset: one object with all data of training and evaluation."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import build_dataset
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions


def test_a_dataset_prints_its_size_targets_and_policy(planted_world):
    d = planted_world.dataset
    text = repr(d)
    for part in (
        "300 users", f"{d.n_items} items", f"{len(d.sequences.items):,} events", "300 validation and 300 test targets",
        "5 strata", "recommended again",
    ):  # fmt: skip
        assert part in text
    assert "never recommended" in repr(replace(d, split=replace(d.split, exclude_seen=True)))


def test_the_hash_covers_histories_times_and_item_ids(planted_world):
    """Registered versions and finished studies carry it: it must not change."""
    d = planted_world.dataset
    parts = [d.sequences.items, d.sequences.timestamps, d.sequences.offsets]
    ids = "\n".join(d.item_ids).encode()
    assert d.sha256 == hashlib.sha256(b"".join(a.tobytes() for a in parts) + ids).hexdigest()
    parts += [d.split.train_end, d.split.valid_at, d.split.test_at, d.split.test_from, np.array(d.split.exclude_seen)]
    assert d.split_sha256 == hashlib.sha256(b"".join(a.tobytes() for a in parts) + ids).hexdigest()


def test_categories_are_those_of_the_metadata(planted_world):
    ids = planted_world.dataset.item_ids
    lists = [["b", "a"], [], ["a", "a"]]
    metadata = pd.DataFrame({"item_id": [ids[2], ids[0], ids[5], "unknown"], "categories": [*lists, ["z"]]})
    settings = Splitting(), ExcludeSeen(False), Stratification()
    d, _ = build_dataset(planted_world.events, *settings, metadata)
    assert d.categories.shape == (len(ids), 2)
    expected = np.zeros(d.categories.shape)
    expected[2], expected[5] = (1, 1), (1, 0)
    np.testing.assert_array_equal(d.categories.toarray(), expected)
    assert d.sha256 == planted_world.dataset.sha256
    assert d.split_sha256 != planted_world.dataset.split_sha256
    for none in (None, metadata[:0], metadata[1:2], metadata[3:]):  # of no item of the log
        bare, _ = build_dataset(planted_world.events, *settings, none)
        assert bare.categories is None
        assert bare.items.equals(planted_world.dataset.items)
        assert bare.split_sha256 == planted_world.dataset.split_sha256


def test_the_log_has_one_hash_under_every_split(planted_world):
    d = planted_world.dataset
    other = replace(d, split=replace(d.split, exclude_seen=True))
    assert other.sha256 == d.sha256
    assert other.split_sha256 != d.split_sha256


def test_splits_with_equal_targets_differ_if_the_refit_learns_other_events(planted_world):
    d = planted_world.dataset
    later = replace(d, split=replace(d.split, test_from=d.split.test_from + 1))
    assert later.sha256 == d.sha256
    assert later.split_sha256 != d.split_sha256


def test_items_have_their_training_events(planted_world):
    d = planted_world.dataset
    assert d.items["training_events"].tolist() == planted_world.popularity.counts.tolist()


def test_user_ids_are_those_of_the_histories():
    events, _ = clean_events(generate_interactions(SyntheticLog(users=60, items=30)), Cleaning())
    d, user_ids = build_dataset(events, Splitting(), ExcludeSeen(False), Stratification())
    counts = events["user_id"].value_counts()
    assert d.sequences.lengths.tolist() == counts[user_ids].tolist()
