"""Recommendations for every user against those of one user at a time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.explanation import explain
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.users import hash_users
from pinet_kedro.serving.batch_inference import SCHEMA, Recommendations, compare_times, compare_users
from pinet_kedro.serving.config import BatchInference
from prepared import as_dataset


@pytest.fixture(scope="module")
def model(planted_world, joint_backbone):
    w = planted_world
    plugins = w.fit_plugins(joint_backbone, PluginTraining(folds=2))
    return Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, plugins)


@pytest.fixture(scope="module")
def newer(planted_world):
    """The log with two items renamed to ids of which the model knows nothing, and users who know nothing else."""
    w = planted_world
    ids = pd.Series(w.item_ids.astype(str))
    ids[[0, 7]] = ["new 1", "new 2"]
    strangers = np.array([1, 8, 8, 1], np.int32)  # items 1 and 8 are those two
    items = np.concatenate([w.sequences.items, strangers])
    offsets = np.concatenate([w.sequences.offsets, [len(items) - 2, len(items)]])
    return dataset_of(Sequences(items, np.zeros(len(items), np.int64), offsets), ids)


def dataset_of(sequences, ids):
    nobody = np.zeros(sequences.n_users, np.int64)
    return as_dataset(sequences, Split(nobody, nobody, nobody, nobody), ids)


def recommend(model, newer, **settings):
    users = pd.Series([f"u{i}" for i in range(newer.n_users)])
    users = pd.concat([users[:10], users[10:]])  # in two chunks, as those of a large file
    stream = Recommendations(model, "7", newer, users, BatchInference(**settings))
    return pa.Table.from_batches(stream, stream.schema).to_pandas(), stream.summary


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_every_user_gets_what_a_single_request_gives(model, newer, exclude_seen):
    table, _ = recommend(replace(model, exclude_seen=exclude_seen), newer, k=5)
    sequences, ids = newer.sequences, newer.items["item_id"]
    assert table["user_id"].tolist() == [f"u{i}" for i in range(sequences.n_users)]
    histories = [ids[part - 1].tolist() for part in np.split(sequences.items, sequences.offsets[1:-1])]
    alone = model.recommend(histories, k=5, exclude_seen=exclude_seen)
    for row, (items, scores, stratum, *_) in zip(table.itertuples(), alone, strict=True):
        assert row.scores.tolist() == pytest.approx(scores, rel=1e-4, abs=1e-4)
        assert (row.items.tolist(), row.stratum) == (items, stratum)
    assert set(table["model_version"]) == {"7"}


KINDS = {
    "plugins": PluginTraining(folds=2),
    "no backbone": PluginTraining(folds=2, backbone=False),
    "state space": PluginTraining(folds=2, kind="state_space"),
    "bare": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_explained_lists_have_what_a_single_request_gets(model, planted_world, newer, kind):
    if kind != "plugins":
        config = KINDS[kind]
        model = replace(model, plugins=config and planted_world.fit_plugins(model.backbone, config))
    stream = Recommendations(
        model, "7", newer, pd.Series(map(str, range(newer.n_users))), BatchInference(k=5, explain=True, block_users=50)
    )
    rows = pa.Table.from_batches(stream, stream.schema).to_pylist()
    plain, _ = recommend(model, newer, k=5)
    sequences, ids = newer.sequences, newer.items["item_id"]
    histories = [ids[part - 1].tolist() for part in np.split(sequences.items, sequences.offsets[1:-1])]
    for user in (*range(0, len(rows), 5), len(rows) - 2, len(rows) - 1):  # the last two are strangers
        row, items = rows[user], plain["items"][user]
        why = explain(model, histories[user], 5)
        assert row["items"] == items.tolist() == [found.item for found in why.items]
        assert row["note"] == why.note
        assert given(row["average"]) == pytest.approx(why.average, rel=1e-4, abs=1e-4)
        for found, entry in zip(why.items, row["explained"], strict=True):
            assert given(entry["contributions"]) == pytest.approx(found.contributions, rel=1e-4, abs=1e-4)
            assert entry["because"] == (found.because and found.because[0])
            assert entry["share"] == pytest.approx(found.because and found.because[1])


def given(values):
    """Those that are not null."""
    return {name: value for name, value in values.items() if value is not None}


def test_what_is_explained_adds_columns_and_changes_none(model, newer):
    (plain, summary), (explained, same) = recommend(model, newer), recommend(model, newer, explain=True)
    assert list(plain) == SCHEMA.names
    assert list(explained) == [*SCHEMA.names, "explained", "average", "note"]
    assert summary == same
    for name in SCHEMA.names:
        assert explained[name].map(str).tolist() == plain[name].map(str).tolist()


def test_unknown_items_are_skipped_and_counted(model, newer):
    table, summary = recommend(model, newer)
    sequences = newer.sequences
    assert summary["unknown_items"] == 2
    assert summary["skipped_events"] == np.isin(sequences.items, [1, 8]).sum()
    assert summary["users"] == sequences.n_users == len(table)
    assert not {"new 1", "new 2"} & set(np.concatenate(table["items"]))


def test_users_without_history_get_popularity_with_recency(model, newer):
    table, summary = recommend(model, newer, k=4)
    assert summary["users_without_history"] == 2
    best = np.argsort(-(model.popularity.log_popularity + model.popularity.log_recency), kind="stable")[:4]
    for items in table["items"].tail(2):
        assert items.tolist() == model.item_ids[best].tolist()


def test_blocks_do_not_show_in_the_result(model, newer):
    small, _ = recommend(model, newer, block_users=7)
    large, _ = recommend(model, newer, block_users=1000)
    assert small["items"].map(list).tolist() == large["items"].map(list).tolist()
    np.testing.assert_allclose(np.concatenate(small["scores"]), np.concatenate(large["scores"]), rtol=1e-4, atol=1e-4)


def test_whoever_has_seen_everything_gets_an_empty_list(model, planted_world):
    w = planted_world
    everything = Sequences(
        np.arange(1, w.n_items + 1, dtype=np.int32), np.zeros(w.n_items, np.int64), np.array([0, w.n_items])
    )
    table, _ = recommend(model, dataset_of(everything, w.item_ids))
    assert table["items"].map(len).tolist() == [0]


def test_a_score_that_is_not_a_number_stops_it(model, newer):
    import copy

    spoilt = copy.deepcopy(model.backbone)
    spoilt.items.weight.data[5] = float("nan")
    with pytest.raises(FloatingPointError, match="not a number"):
        recommend(replace(model, backbone=spoilt), newer)


def test_users_of_the_version_that_are_missing_are_counted_and_too_many_are_an_error(caplog):
    of_version, here = hash_users(f"u{n}" for n in range(1000)), pd.Series([f"u{n}" for n in range(10, 1005)])
    assert compare_users(of_version, here, "7", 0.01) == {"new_users": 5, "missing_users": 10}
    assert compare_users(of_version, here, "7", 1.0) == {"new_users": 5, "missing_users": 10}
    with pytest.raises(InputError) as error:
        compare_users(of_version, here.tail(450), "7", 0.01)
    for words in (
        "version 7 was made for 1,000 users, and 555 of them (55.5 %) are not among the 450 users of these data",
        "--params=batch_inference.missing_users=0.56",
    ):
        assert words in str(error.value)
    assert compare_users(of_version, here.tail(450), "7", 0.56)["missing_users"] == 555
    with pytest.raises(InputError, match="1,000 of them"):
        compare_users(of_version, here.str[1:], "7", 0.5)
    assert compare_users(None, here, "7", 0.0) == {}
    assert "Version 7 has no record of its users" in caplog.text


def test_histories_that_end_before_what_the_version_has_learnt_are_a_warning(planted_world, caplog):
    """As those of `full` after a retraining, or of a retraining after a refresh."""
    newest = int(planted_world.sequences.timestamps.max())
    for learnt_until in (None, newest - 1, newest):
        compare_times(learnt_until, planted_world.dataset, "7")
    assert not caplog.records
    compare_times(newest + 86_400 * 10**9, planted_world.dataset, "7")
    assert "Version 7 has learnt events until 20" in caplog.text
    assert "lists may have items that users know now" in caplog.text


def test_histories_without_a_clock_end_on_an_event_not_on_a_day_of_1970(planted_world, caplog):
    sequences = planted_world.sequences
    numbered = replace(sequences, timestamps=np.arange(len(sequences.timestamps)))
    compare_times(10**18, replace(planted_world.dataset, sequences=numbered), "7")
    assert f"these histories end on event {len(sequences.timestamps) - 1:,}: " in caplog.text
