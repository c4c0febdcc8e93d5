"""The arrays of `Sequences` from a table of an engine, written block by block."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from pinet_kedro.engines import cleaning
from pinet_kedro.engines.engine import Engine
from pinet_kedro.interactions.sequences import Sequences, user_runs

if TYPE_CHECKING:
    from ibis.expr.types import Table


@dataclass(frozen=True)
class SortedArrays:
    """`items.npy`, `timestamps.npy` and `offsets.npy` in a folder; `unique`: no two events are equal."""

    folder: Path
    unique: bool


def sorted_arrays(engine: Engine, events: "Table", counts: Int[np.ndarray, " U"], folder: Path) -> SortedArrays:
    """The arrays of clean events of users with these numbers of events."""
    folder.mkdir()
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    total, unique = int(offsets[-1]), True
    with (
        _appended(folder / "items.npy", np.int32, total) as items,
        _appended(folder / "timestamps.npy", np.int64, total) as timestamps,
    ):
        for first, last in user_runs(offsets, engine.config.block_events):
            found = cleaning.sorted_block(events, first, last).to_pyarrow()
            block = Sequences(
                found["item"].to_numpy() + np.int32(1),
                found["timestamp"].to_numpy(),
                offsets[first : last + 1] - offsets[first],
            )
            unique = unique and block.all_differ()
            block.items.tofile(items)
            block.timestamps.tofile(timestamps)
    return SortedArrays(folder, unique)


@contextmanager
def _appended(path: Path, dtype: Any, length: int) -> Iterator[Any]:
    """A file for an array of this length, to whose end its parts are written: a memory map would keep them resident."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(file, header)
        yield file
