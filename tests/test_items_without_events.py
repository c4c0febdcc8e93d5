"""Items that only the metadata have: candidates if `cleaning.items_without_events` says so, and nothing else moves."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pinet_kedro.activeness import Stratification
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig
from pinet_kedro.dataset import build_dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.beyond_accuracy import item_facts
from pinet_kedro.evaluation.comparison import describe_data
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.refit import refit, whole_log
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender, new_recommender
from pinet_kedro.refresh.growth import find_growth
from pinet_kedro.training.backbone import train_backbone

SETTINGS = Splitting(), ExcludeSeen(True), Stratification()
QUICK = {"folds": 2, "memory_search": None, "hard_candidates": 20, "random_candidates": 20}
PLAIN = PluginTraining(**QUICK)
BY_CATEGORY = PluginTraining(**QUICK, scorers={"categories": {}})
TASTES = "abcd"
NEW = [f"{number}-new-{taste}" for number in (0, 1) for taste in TASTES]  # sorted as texts before the items of the log


def taste_events(users=300, length=16):
    """Users who take four of five items from one of four categories; three rare items of each are in no history before
    its last two events."""
    rng = np.random.default_rng(5)
    taste, kept = rng.integers(0, 4, users), rng.integers(8, length + 1, users)
    category = np.where(rng.random((users, length)) < 0.8, taste[:, None], rng.integers(0, 4, (users, length)))
    from_the_end = np.arange(length)[::-1]
    number = np.where(from_the_end > 1, rng.integers(3, 12, category.shape), rng.integers(0, 12, category.shape))
    names = np.array([[f"item-{n:02}-{t}" for t in TASTES] for n in range(12)])
    events = pd.DataFrame(
        {
            "user_id": pd.array(np.repeat([f"u{user:03}" for user in range(users)], length), "string"),
            "item_id": pd.array(names[number, category].ravel(), "string"),
            "timestamp": np.arange(users * length) * 10**9,
        }
    )
    return events[(from_the_end < kept[:, None]).ravel()].reset_index(drop=True)


def metadata_of(items):
    return pd.DataFrame({"item_id": pd.array(items, "string"), "categories": [[item[-1]] for item in items]})


@pytest.fixture(scope="module")
def log():
    """Clean events; one item is rarer than the minimum, and cleaning drops it."""
    rare = pd.DataFrame({"user_id": "u000", "item_id": "rare-a", "timestamp": np.arange(2) * 10**9})
    events = pd.concat([taste_events(), rare.astype({"user_id": "string", "item_id": "string"})], ignore_index=True)
    return events, clean_events(events, Cleaning())[0]


@pytest.fixture(scope="module")
def datasets(log):
    """Without and with them."""
    metadata = metadata_of([*NEW, "rare-a", *sorted(log[1]["item_id"].unique())])
    return [build_dataset(log[1], *SETTINGS, metadata, on)[0] for on in (False, True)]


@pytest.fixture(scope="module")
def trained(datasets, small_training):
    return [train_backbone(dataset, small_training) for dataset in datasets]


@pytest.fixture(scope="module")
def models(datasets, trained):
    """Without them; with them and no scorer that knows them; with the scorer of categories."""
    off, on = zip(datasets, trained, strict=True)
    return [fitted(*off), fitted(*on), fitted(*on, BY_CATEGORY)]


def fitted(dataset, backbone, config=PLAIN):
    bare = new_recommender(backbone, dataset)
    scorers = build_scorers(dataset, bare.popularity, config)
    return replace(bare, plugins=fit_plugins(backbone, dataset, scorers, config)[0])


def test_switched_off_the_catalogue_is_the_log_whatever_the_metadata_have(log, datasets):
    known = sorted(log[1]["item_id"].unique())
    alone, _ = build_dataset(log[1], *SETTINGS, metadata_of(known))
    off = datasets[0]
    assert off.item_ids.tolist() == known
    pd.testing.assert_frame_equal(off.items, alone.items)
    assert (off.sha256, off.split_sha256) == (alone.sha256, alone.split_sha256)
    assert off.logged is off
    assert "items_without_events" not in describe_data(off, pd.DataFrame({"source": ["x"], "rule": "y", "rows": 0}))
    assert Cleaning().model_dump() == {"rating_threshold": None, "min_user_events": 5, "min_item_events": 5}


def test_switched_on_they_follow_the_items_of_the_log_whose_numbers_stay(datasets):
    off, on = datasets
    assert on.item_ids.tolist() == [*off.item_ids, *NEW, "rare-a"]  # cleaning has no say in these
    assert np.array_equal(on.sequences.items, off.sequences.items)
    assert on.items["training_events"].tolist() == [*off.items["training_events"], *[0] * 9]
    assert on.items["categories"].iloc[-1] == ["a"]
    pd.testing.assert_frame_equal(on.logged.items, off.items)
    assert on.sha256 != off.sha256


def test_they_are_counted_among_the_candidates_and_the_cold_items(datasets):
    off, on = datasets
    cleaning = pd.DataFrame({"source": ["log.csv"], "rule": ["k-core"], "rows": [2]})
    told, before = describe_data(on, cleaning), describe_data(off, cleaning)
    assert told["items"] == before["items"] + 9
    assert told["items_without_events"] == 9
    assert told["cold_items"]["items"] == before["cold_items"]["items"] + 9
    assert item_facts(on).events[-9:].sum() == 0


def test_without_metadata_the_parameter_is_refused(log):
    for metadata in (None, metadata_of([])):
        with pytest.raises(InputError, match=r"items_without_events = true, but there is no table of items\. Name one"):
            build_dataset(log[1], *SETTINGS, metadata, True)


def test_how_many_there_are_is_logged(log, caplog):
    with caplog.at_level(logging.INFO):
        build_dataset(log[1], *SETTINGS, metadata_of([*NEW]), True)
    assert "without events are candidates, too: 8 beside the 48 of the log" in caplog.text


@pytest.mark.parametrize(
    "backbone",
    [None, *(kind(width=8, max_length=6) for kind in (GRU4RecConfig, DINConfig, LRURecConfig))],
    ids=["sasrec", "gru4rec", "din", "lrurec"],
)
@pytest.mark.parametrize("unit", [False, True])
def test_no_weight_is_trained_on_them_and_theirs_are_the_mean_of_rare_items(datasets, small_training, backbone, unit):
    if unit and backbone:
        pytest.skip("only SASRec has item vectors of unit length")
    chosen = backbone or small_training.backbone.model_copy(update={"item_norm": "unit" if unit else "free"})
    schedule = small_training.schedule.model_copy(update={"epochs": 2})
    config = small_training.model_copy(update={"backbone": chosen, "schedule": schedule})
    (off, on), (less, more) = datasets, [train_backbone(dataset, config) for dataset in datasets]
    (body, tables), (same, longer) = less.body_and_items(), more.body_and_items()
    assert all(torch.equal(one, other) for one, other in zip(body, same, strict=True))
    counts = off.items["training_events"].to_numpy()
    rare = torch.from_numpy(counts <= np.quantile(counts, 0.1))
    assert 0 < rare.sum() < 20
    for one, other in zip(tables, longer, strict=True):
        assert torch.equal(one, other[: off.n_items + 1])
        mean = one[1:][rare].mean(0)
        torch.testing.assert_close(other[-1], mean / mean.norm() if unit else mean)
        assert (other[off.n_items + 1 :] == other[-1]).all()
    assert more.n_items == on.n_items
    assert not more.training


def test_the_plugins_are_fitted_without_them_and_the_scores_of_all_others_stay(datasets, models):
    off, on = models[:2]
    torch.testing.assert_close(on.plugins.theta, off.plugins.theta, rtol=1e-4, atol=1e-5)
    users = datasets[0].test_users[:50]
    at = datasets[0].split.test_at[users]
    histories = torch.from_numpy(datasets[0].sequences.windows(users, at, 10))
    before, after = off.scores(histories, at), on.scores(histories, at)
    torch.testing.assert_close(after[:, : off.n_items], before, rtol=1e-3, atol=1e-3)
    unknown = after[:, off.n_items :]
    torch.testing.assert_close(unknown, unknown[:, :1].expand_as(unknown))  # one score for all of them
    ranks = target_ranks(on, datasets[1].sequences, users, at, exclude_seen=True)
    assert set(ranks.candidates) <= {off.n_items + 9 - length for length in range(1, 13)}


def test_an_item_without_events_is_recommended_for_its_categories(models):
    """To a user who takes only a; without the scorer, all of them have one score."""
    history = [f"item-{n:02}-a" for n in (4, 5, 6, 7)]
    by_category = models[2].recommend([history], k=12)[0].items
    assert {"0-new-a", "1-new-a", "rare-a"} <= set(by_category)
    assert not {item for item in NEW if not item.endswith("a")} & set(by_category)
    found = models[1].recommend([history], k=57)[0]
    scores = {score for item, score in zip(found.items, found.scores, strict=True) if item in NEW}
    assert max(scores) - min(scores) < 1e-5


@pytest.mark.parametrize(("config", "told"), [(PLAIN, "9"), (BY_CATEGORY, "2")])
def test_a_warning_says_which_score_those_have_that_no_scorer_knows(datasets, caplog, config, told):
    dataset = datasets[1]
    if config is BY_CATEGORY:  # two of them lose their categories
        listed = [
            [] if item in NEW[:2] else own
            for item, own in zip(dataset.item_ids, dataset.items["categories"], strict=True)
        ]
        dataset = replace(dataset, items=dataset.items.assign(categories=listed))
    with caplog.at_level(logging.WARNING):
        for each in (dataset, datasets[0]):
            build_scorers(each, count_popularity(each), config)
    (warning,) = (record.getMessage() for record in caplog.records if "no events" in record.getMessage())
    assert warning.startswith(f"{told} items have no events, nor categories that a scorer reads.")


def test_a_model_with_them_is_refitted_stored_and_answers_a_history_with_one(
    datasets, models, small_training, tmp_path
):
    again = refit(models[2], whole_log(datasets[1]), small_training)
    assert again.n_items == datasets[1].n_items
    again.save(tmp_path)
    history = ["item-04-a", "0-new-a"]
    found = Recommender.load(tmp_path).recommend([history], k=57)[0]
    assert found == again.recommend([history], k=57)[0]
    assert found.unknown_items == 0
    assert "0-new-a" not in found.items  # it has been seen
    assert "1-new-a" in found.items


def test_their_first_events_wait_for_a_training(log, datasets, models, small_training):
    """Also where the log has events of one that cleaning has dropped."""
    served = refit(models[2], whole_log(datasets[1]), small_training)
    last = log[0]["timestamp"].max()
    new = pd.DataFrame({"user_id": "u001", "item_id": ["0-new-a", "rare-a", "item-05-b"], "timestamp": last + 1})
    new = new.assign(timestamp=new["timestamp"] + np.arange(3)).astype({"user_id": "string", "item_id": "string"})
    growth = find_growth(served, log[0], new, Cleaning())
    assert growth.new_events == 1
    assert (growth.unknown_events, growth.unknown_items) == (2, 2)
