"""Raw log and partitions in an engine: what retraining gathers from them and measures is what pandas gives."""

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.datasets.files import EventsDataset, InteractionsDataset
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.engines.datasets import CleanLogDataset, EngineInteractionsDataset
from pinet_kedro.engines.gate import EngineGate
from pinet_kedro.evaluation.drift import EventsInMemory
from pinet_kedro.interactions.events import Cleaning, rated_enough
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.retraining.gathering import gather, rated
from pinet_kedro.retraining.reference import EngineReference
from pinet_kedro.validation.gate import ExpectationGate

ENGINE = {"name": "duckdb", "memory": "500MB", "threads": 1, "block_events": 300}
COLUMNS = {"rating": "rating"}


@pytest.fixture(scope="module")
def parts():
    """A log with ties and duplicates in three parts, each newer than the one before."""
    log = generate_interactions(SyntheticLog(users=120, items=80, min_events=4, seed=3))
    log["timestamp"] //= 3600 * 10**9
    log = pd.concat([log, log.sample(100, random_state=1)]).sort_values("timestamp", kind="stable", ignore_index=True)
    return [log.iloc[rows].reset_index(drop=True) for rows in np.array_split(np.arange(len(log)), 3)]


@pytest.fixture
def logs(parts, tmp_path):
    """The raw log as both environments open it."""
    entry = {"filepath": str(tmp_path / "log.parquet"), "columns": COLUMNS, "timestamp_unit": "order"}
    parts[0].to_parquet(entry["filepath"], index=False)
    ours = EngineInteractionsDataset(engine=ENGINE, folder=str(tmp_path), **entry)
    return [RawLog(lambda: InteractionsDataset(**entry)), RawLog(lambda: ours)]


@pytest.mark.parametrize("with_ratings", [True, False], ids=["all with ratings", "one without"])
def test_what_is_gathered_and_cleaned_is_the_same(parts, logs, tmp_path, with_ratings):
    later = parts[2] if with_ratings else parts[2].drop(columns="rating")
    accepted = {"a": parts[1], "b": later, "none": later.head(0)}
    in_memory, in_engine = (gather(accepted, log.opened()) for log in logs)
    assert in_engine.origin == in_memory.origin
    assert in_engine.size == in_memory.size
    for column in ("user_id", "item_id"):
        assert in_engine.distinct_ids(column).tolist() == in_memory.events[column].unique().tolist()
    config = Cleaning(rating_threshold=2 if with_ratings else None, min_user_events=4, min_item_events=4)
    expected, report = in_memory.cleaned(config)
    clean, dropped = in_engine.cleaned(config)
    pd.testing.assert_frame_equal(dropped, report)
    dataset = CleanLogDataset(str(tmp_path / "clean"))
    for log in (clean, expected):  # the second: of partitions without a raw log
        dataset.save(log)
        sequences, users, items = dataset.load().indexed()
        theirs = expected.indexed()
        for name in ("items", "timestamps", "offsets"):
            assert getattr(sequences, name).dtype == getattr(theirs[0], name).dtype
            assert getattr(sequences, name).tolist() == getattr(theirs[0], name).tolist()
        pd.testing.assert_index_equal(users, theirs[1])
        pd.testing.assert_index_equal(items, theirs[2])
    assert not (tmp_path / "engine").exists()


@pytest.mark.parametrize("threshold", [None, 4])
def test_the_reference_of_drift_is_the_same(parts, logs, threshold):
    accepted, config = {"a": parts[1]}, Cleaning(rating_threshold=threshold)
    in_memory, log = (rated(gather(accepted, log.opened()), config) for log in logs)
    theirs = EventsInMemory(in_memory.events)
    ours = EngineReference(log)
    for column in ("user_id", "item_id"):
        one, other = theirs.counts(column), ours.counts(column)
        assert list(other.items()) == list(one.items())
    assert ours.last() == theirs.last()
    one, other = (reference.newest_users(150).value_counts() for reference in (theirs, ours))
    assert other.to_dict() == one.to_dict()
    newer = parts[2][rated_enough(parts[2], config)]
    one, other = (reference.followed_by(newer) for reference in (theirs, ours))
    for name in ("items", "timestamps", "offsets"):
        assert getattr(other[0], name).tolist() == getattr(one[0], name).tolist()
    assert [ids.tolist() for ids in other[1:]] == [ids.tolist() for ids in one[1:]]
    log.close()
    log.close()  # once more is no error


def test_a_catalog_that_stores_clean_events_as_a_table_still_works(logs, tmp_path):
    """The environment of somebody who took only `raw_interactions` and `clean_events` from the one of the engine."""
    config = Cleaning(min_user_events=3, min_item_events=3)
    clean, _ = logs[1].opened().cleaned(config)
    expected, _ = logs[0].read().cleaned(config)
    dataset = EventsDataset(filepath=str(tmp_path / "clean.parquet"))
    dataset.save(clean)
    pd.testing.assert_frame_equal(dataset.load().events, expected.events[["user_id", "item_id", "timestamp"]])
    assert not (tmp_path / "engine").exists()


def test_each_gate_checks_both_kinds_of_logs(logs, tmp_path):
    suite, pages = "conf/base/expectations/raw_events.json", str(tmp_path / "pages")
    for gate in (ExpectationGate(suite, pages), EngineGate(suite, pages)):
        for log in logs:
            found = log.opened()
            assert (gate.validate(found) or found) is found
            found.close()
