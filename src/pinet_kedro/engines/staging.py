"""Raw files as canonical events in Parquet: read by the project's readers, one block in memory at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinet_kedro.interactions.events import Columns, Origin, joined_origin, read_parts

ROWS = 2**20  # of a Parquet file that are read at a time
_TYPES = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "rating": pa.float64()}


@dataclass(frozen=True)
class Staged:
    """Canonical events as files with the number of their row (from 1, through all raw files), and their origin."""

    folder: Path
    columns: list[str]
    origin: Origin
    rows: int


def stage(source: Path, columns: Columns, unit: str, folder: Path) -> Staged:
    """The events of the raw files, in `folder`. Raises `InputError` as `read_interactions`."""
    folder.mkdir(parents=True, exist_ok=True)
    origins: list[Origin] = []
    first = 1
    names: list[str] = []
    for number, part in enumerate(read_parts(source, columns, unit, ROWS)):
        names = [str(name) for name in part.events.columns]
        file = folder / f"{number:06d}.parquet"
        _write(part.events, names, first, file)
        origins.append(part.origin)
        first += len(part.events)
    return Staged(folder, names, joined_origin(source, origins), first - 1)


def extended(staged: Staged, parts: Iterable[pd.DataFrame], source: str) -> Staged:
    """The events with those of canonical tables after them, as from `source`; a column that one lacks is left out."""
    present = sorted(staged.folder.glob("*.parquet"))
    stored = [name for name in pq.read_schema(present[0]).names if name != "row"]
    names, rows = staged.columns, staged.rows
    for number, part in enumerate(parts, len(present)):
        _write(part, stored, rows + 1, staged.folder / f"{number:06d}.parquet")
        names = [name for name in names if name in part.columns]
        rows += len(part)
    return Staged(staged.folder, names, Origin(source, dict(zip(names, names, strict=True)), names), rows)


def _write(events: pd.DataFrame, names: list[str], first: int, file: Path) -> None:
    """These columns of the events as a file, with the numbers of the rows from `first`; one that they lack is null."""
    columns = {"row": pa.array(np.arange(first, first + len(events)))}
    for name in names:
        kind = _TYPES[name]
        columns[name] = (
            pa.array(events[name], kind, from_pandas=True) if name in events else pa.nulls(len(events), kind)
        )
    pq.write_table(pa.table(columns), file, compression="lz4", use_dictionary=["user_id", "item_id"])
