"""Raw files as canonical events in Parquet: read by the project's readers, one block in memory at a time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinet_kedro.interactions.events import Columns, Interactions, Origin, joined_origin, read_parts

ROWS = 2**20  # of a Parquet file that are read at a time
_TYPES = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "rating": pa.float64()}


@dataclass(frozen=True)
class Staged:
    """Canonical events as files with the number of their row (from 1, through all raw files), and their origin."""

    folder: Path
    columns: list[str]
    origin: Origin


def stage(source: Path, columns: Columns, unit: str, folder: Path) -> Staged:
    """The events of the raw files, in `folder`. Raises `InputError` as `read_interactions`."""
    folder.mkdir(parents=True, exist_ok=True)
    origins: list[Origin] = []
    first = 1
    names: list[str] = []
    for number, part in enumerate(read_parts(source, columns, unit, ROWS)):
        names = [str(name) for name in part.events.columns]
        file = folder / f"{number:06d}.parquet"
        rows = pa.array(np.arange(first, first + len(part.events)))
        pq.write_table(_table(part, rows), file, compression="lz4", use_dictionary=["user_id", "item_id"])
        origins.append(part.origin)
        first += len(part.events)
    return Staged(folder, names, joined_origin(source, origins))


def _table(part: Interactions, rows: pa.Array) -> pa.Table:
    columns = {"row": rows}
    for name, values in part.events.items():
        columns[str(name)] = pa.array(values, _TYPES[str(name)], from_pandas=True)
    return pa.table(columns)
