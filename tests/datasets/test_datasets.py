import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError

from pinet_kedro.datasets.files import (
    ArraysDataset,
    EventsDataset,
    JSONDataset,
    ParquetDataset,
    StreamedParquetDataset,
    TextDataset,
)
from pinet_kedro.interactions.events import Interactions, Origin
from pinet_kedro.interactions.sequences import Sequences


@pytest.fixture
def sequences():
    return Sequences(np.array([1, 2, 3], np.int32), np.array([5, 6, 7]), np.array([0, 2, 3]))


def arrays(path):
    return ArraysDataset(str(path), "pinet_kedro.interactions.sequences.Sequences")


def test_arrays_come_back_equal_and_memory_mapped(tmp_path, sequences):
    dataset = arrays(tmp_path / "sequences")
    dataset.save(sequences)
    loaded = dataset.load()
    for name in ("items", "timestamps", "offsets"):
        assert isinstance(getattr(loaded, name), np.memmap)
        np.testing.assert_array_equal(getattr(loaded, name), getattr(sequences, name))


def test_a_folder_is_replaced_as_a_whole(tmp_path, sequences):
    dataset = arrays(tmp_path / "sequences")
    dataset.save(sequences)
    (tmp_path / "sequences" / "stale.npy").write_bytes(b"")
    dataset.save(sequences)
    assert {p.name for p in (tmp_path / "sequences").iterdir()} == {"items.npy", "timestamps.npy", "offsets.npy"}
    assert [p.name for p in tmp_path.iterdir()] == ["sequences"]


def test_a_folder_survives_a_save_that_fails(tmp_path, sequences):
    dataset = arrays(tmp_path / "sequences")
    dataset.save(sequences)
    broken = Sequences(sequences.items, sequences.timestamps, np.array([object()], dtype=object))
    with pytest.raises(DatasetError):
        dataset.save(broken)
    np.testing.assert_array_equal(dataset.load().items, sequences.items)


def test_a_folder_comes_back_after_a_save_that_was_killed_between_its_renames(tmp_path, sequences):
    dataset = arrays(tmp_path / "sequences")
    dataset.save(sequences)
    (tmp_path / "sequences").rename(tmp_path / "sequences.old")
    assert dataset.exists()
    np.testing.assert_array_equal(dataset.load().items, sequences.items)


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
