import pickle
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError

from pinet_kedro.datasets.files import (
    EventsDataset,
    JSONDataset,
    ParquetDataset,
    StreamedParquetDataset,
    TextDataset,
)
from pinet_kedro.datasets.folders import PreparedDataset, RecommenderDataset
from pinet_kedro.interactions.events import Interactions, Origin
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.recommender import NoModel


@pytest.fixture
def stored(planted_world, tmp_path):
    """The planted log, stored."""
    store = PreparedDataset(str(tmp_path / "dataset"))
    store.save(planted_world.dataset)
    return store


def same(one, other):
    for part in ("sequences", "split"):
        for f in fields(getattr(one, part)):
            np.testing.assert_array_equal(*(getattr(getattr(d, part), f.name) for d in (one, other)))
    pd.testing.assert_frame_equal(one.items, other.items)
    return one.strata == other.strata


def test_a_dataset_comes_back_equal_and_memory_mapped(stored, planted_world):
    loaded = stored.load()
    assert same(loaded, planted_world.dataset)
    assert (loaded.sha256, loaded.split_sha256) == (planted_world.dataset.sha256, planted_world.dataset.split_sha256)
    assert isinstance(loaded.split.exclude_seen, bool)
    for array in (
        loaded.sequences.items,
        loaded.sequences.timestamps,
        loaded.sequences.offsets,
        loaded.split.train_end,
    ):
        assert isinstance(array, np.memmap)


def test_another_process_maps_the_files_of_a_dataset_instead_of_copying_them(stored, planted_world):
    sent = pickle.dumps(stored.load())
    got = pickle.loads(sent)
    assert len(sent) < planted_world.sequences.items.nbytes + planted_world.sequences.timestamps.nbytes
    assert isinstance(got.sequences, Sequences)
    assert isinstance(got.sequences.items, np.memmap)
    assert same(got, planted_world.dataset)


def test_a_folder_is_replaced_as_a_whole(tmp_path, stored, planted_world):
    (tmp_path / "dataset" / "stale.npy").write_bytes(b"")
    stored.save(planted_world.dataset)
    names = {p.name for p in (tmp_path / "dataset").iterdir()}
    assert names == {"sequences", "split", "strata.json", "items.parquet"}
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]


def test_a_folder_survives_a_save_that_fails(tmp_path, stored, planted_world):
    whole = planted_world.dataset
    broken = replace(whole, sequences=replace(whole.sequences, offsets=np.array([object()], dtype=object)))
    with pytest.raises(DatasetError):
        stored.save(broken)
    assert same(stored.load(), whole)
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]


def test_a_folder_comes_back_after_a_save_that_was_killed_between_its_renames(tmp_path, stored, planted_world):
    (tmp_path / "dataset").rename(tmp_path / "dataset.old")
    assert stored.exists()
    assert same(stored.load(), planted_world.dataset)


def test_a_model_that_the_configuration_does_not_train_is_stored_as_the_reason(tmp_path):
    store = RecommenderDataset(str(tmp_path / "model"))
    store.save(NoModel("no aggregation is configured"))
    assert store.load() == NoModel("no aggregation is configured")


@pytest.mark.parametrize(
    ("kind", "name", "good", "bad"),
    [
        (JSONDataset, "a.json", {"x": 1}, {"x": object()}),
        (ParquetDataset, "a.parquet", pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1, "a", object()]})),
        (TextDataset, "a.html", "good", "\ud800"),
    ],
)
def test_a_file_survives_a_save_that_fails(tmp_path, kind, name, good, bad):
    dataset = kind(filepath=str(tmp_path / name))
    dataset.save(good)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DatasetError):
        dataset.save(bad)
    assert (tmp_path / name).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_events_are_the_same_file_wherever_they_come_from(tmp_path):
    events = pd.DataFrame({"user_id": pd.Series(["u"], dtype="string"), "timestamp": [1]})
    files = []
    for source in ("a.csv", "b/a.jsonl"):
        dataset = EventsDataset(filepath=str(tmp_path / "events.parquet"))
        dataset.save(Interactions(events, Origin(source, {"user_id": "who"}, clock=False)))
        files.append((tmp_path / "events.parquet").read_bytes())
        pd.testing.assert_frame_equal(dataset.load().events, pd.read_parquet(tmp_path / "events.parquet"))
    assert files[0] == files[1]


class Stream:
    """Batches that are made when they are asked for."""

    schema = pa.schema([("x", pa.int64())])

    def __init__(self, sizes, fails=False):
        self.sizes, self.fails, self.summary = sizes, fails, {"rows": 0}

    def __iter__(self):
        for size in self.sizes:
            self.summary["rows"] += size
            yield pa.record_batch([pa.array(range(size))], schema=self.schema)
        if self.fails:
            raise RuntimeError("killed")


@pytest.mark.parametrize("sizes", [[], [3], [30_000, 30_000, 1]])
def test_a_stream_is_written_with_what_it_knows_in_the_end(tmp_path, sizes):
    dataset = StreamedParquetDataset(str(tmp_path / "new" / "a.parquet"))
    dataset.save(Stream(sizes))
    assert len(dataset.load()) == sum(sizes)
    metadata = pq.read_metadata(tmp_path / "new" / "a.parquet")
    assert metadata.metadata[b"rows"] == str(sum(sizes)).encode()
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] in ([], [3], [60_000, 1])


def test_a_stream_that_breaks_off_leaves_the_old_file(tmp_path):
    dataset = StreamedParquetDataset(str(tmp_path / "a.parquet"))
    dataset.save(Stream([3]))
    with pytest.raises(DatasetError):
        dataset.save(Stream([60_000], fails=True))
    assert len(dataset.load()) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
