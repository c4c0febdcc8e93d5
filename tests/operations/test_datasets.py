import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.operations.datasets import ArraysDataset, JSONDataset, ParquetDataset, TextDataset


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
