"""Logs prepared by DuckDB are those of pandas: events, codes, times, ids, what cleaning drops, split and strata."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import dataset_of
from pinet_kedro.engines import staging
from pinet_kedro.engines.datasets import CleanLogDataset
from pinet_kedro.engines.engine import DuckDB, EngineConfig, open_engine
from pinet_kedro.engines.logs import RawTables
from pinet_kedro.interactions.events import Cleaning, Columns, read_interactions
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions

EXAMPLES = int(os.environ.get("ENGINE_EXAMPLES", "12"))  # half a second of processor time each
COLUMNS = Columns(rating="rating")
# Ids in an order in which code points, bytes and the digits of numbers differ; '7.0' and '7' are one id.
USERS = ["a", "B", "é", "10", "9", "7", "7.0", "\U0001f600", "￿", "z z"]
EVENT = st.tuples(
    st.sampled_from(USERS), st.sampled_from(["x", "y", "ü", "12", "3"]), st.integers(0, 3), st.integers(1, 5)
)


def events_of(rows):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "rating"])
    return frame.astype({"user_id": "string", "item_id": "string", "timestamp": "int64", "rating": "float64"})


def write(frame, path):
    frame.to_parquet(path, index=False) if path.suffix == ".parquet" else frame.to_csv(path, index=False)


def on_duckdb(source, folder, block=4):
    """The log, read and prepared in blocks of a few rows, where a run has a million."""
    engine = open_engine(EngineConfig(memory="500MB", threads=1, block_events=block), folder / "engine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "ROWS", block)
        return RawTables(engine, staging.stage(source, COLUMNS, "order", folder / "engine" / "staged"))


def stored(clean, folder):
    dataset = CleanLogDataset(str(folder / "clean"))
    dataset.save(clean)
    return dataset.load()


def assert_equal(one, other):
    for name in ("items", "timestamps", "offsets"):
        a, b = getattr(one[0], name), getattr(other[0], name)
        assert a.dtype == b.dtype
        assert a.tolist() == b.tolist()
    assert [ids.tolist() for ids in one[1:]] == [ids.tolist() for ids in other[1:]]
    assert [ids.dtype for ids in one[1:]] == [ids.dtype for ids in other[1:]]


@pytest.mark.slow  # dozens of logs
@given(
    files=st.lists(st.lists(EVENT, min_size=1, max_size=40), min_size=1, max_size=3),
    ending=st.sampled_from([".csv", ".parquet"]),
    cleaning=st.builds(
        Cleaning,
        rating_threshold=st.sampled_from([None, 3.0]),
        min_user_events=st.integers(3, 4),
        min_item_events=st.integers(1, 4),
    ),
)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_duckdb_gives_what_pandas_gives(tmp_path_factory, files, ending, cleaning):
    folder = tmp_path_factory.mktemp("log")
    (folder / "parts").mkdir()
    for number, rows in enumerate(files):
        write(events_of(rows), folder / "parts" / f"{number}{ending}")
    source = folder / "parts" if len(files) > 1 else folder / "parts" / f"0{ending}"
    expected, report = read_interactions(source, COLUMNS, "order").cleaned(cleaning)
    clean, dropped = on_duckdb(source, folder).cleaned(cleaning)
    pd.testing.assert_frame_equal(dropped, report)
    assert_equal(stored(clean, folder).indexed(), expected.indexed())


def core_log(folder):
    """The files of a log with ties, duplicates, and several rounds of the core."""
    log = generate_interactions(SyntheticLog(users=300, items=300, min_events=3, seed=2))
    log["timestamp"] //= 3600 * 10**9  # ties
    log = pd.concat([log, log.sample(300, random_state=1)])  # duplicates
    (folder / "log").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(log)), 4)):
        write(log.iloc[part], folder / "log" / f"{number}.parquet")
    return folder / "log"


@pytest.mark.slow
def test_several_rounds_of_the_core_and_the_dataset_that_comes_out(tmp_path):
    source = core_log(tmp_path)
    cleaning = Cleaning(rating_threshold=2, min_user_events=6, min_item_events=6)
    in_memory, raw = read_interactions(source, COLUMNS, "order"), on_duckdb(source, tmp_path, block=500)
    pd.testing.assert_frame_equal(on_duckdb(source, tmp_path / "read").in_memory().events, in_memory.events)
    assert raw.size == in_memory.size
    assert raw.origin == in_memory.origin
    expected, report = in_memory.cleaned(cleaning)
    clean, dropped = raw.cleaned(cleaning)
    pd.testing.assert_frame_equal(dropped, report)
    assert report["rows"].min() > 0
    log = stored(clean, tmp_path)
    for splitting in (Splitting(), Splitting(rule="global_time")):
        setting = (splitting, ExcludeSeen(True), Stratification())
        ours, users = dataset_of(log.indexed(), *setting)
        theirs, raw_ids = dataset_of(expected.indexed(), *setting)
        assert ours.split_sha256 == theirs.split_sha256
        assert ours.strata == theirs.strata
        pd.testing.assert_frame_equal(ours.items, theirs.items)
        pd.testing.assert_index_equal(users, raw_ids)
    assert not (tmp_path / "engine").exists()


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=8), min_size=1))
def test_arrays_show_whether_an_event_is_there_twice(histories):
    histories = [sorted(history) for history in histories]
    rows = [(user, *event) for user, history in enumerate(histories) for event in history]
    _, times, items = np.array(rows).T
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    found = Sequences(items.astype(np.int32), times, offsets).all_differ()
    assert found == (len(set(rows)) == len(rows))
    mixed = list(rows)
    np.random.default_rng(len(rows)).shuffle(mixed)  # ties in any order of items
    mixed.sort(key=lambda row: row[:2])
    items = np.array([item for *_, item in mixed], np.int32)
    assert Sequences(items, times, offsets).all_differ() == found


def test_codes_in_two_levels_are_the_places_of_the_sorted_ids(tmp_path, monkeypatch):
    """As on an engine on which a sort of all rows would be one task."""
    ids = [f"{number:x}" for number in np.random.default_rng(1).permutation(1000)] + USERS
    write(events_of([(user, "x", 1, 1) for user in ids]), tmp_path / "log.csv")
    monkeypatch.setattr(DuckDB, "partitions", 7)
    found = on_duckdb(tmp_path / "log.csv", tmp_path).ids["user"].order_by("code").to_pyarrow()
    assert found["code"].to_pylist() == list(range(len(found)))
    assert found["id"].to_pylist() == sorted({"7" if user == "7.0" else user for user in ids})
