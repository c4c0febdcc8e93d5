"""Logs in the tables of an engine, and the clean log that comes out: what `Interactions` is where pandas prepares."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinet_kedro.engines import cleaning
from pinet_kedro.engines.arrays import SortedArrays, sorted_arrays
from pinet_kedro.engines.engine import Engine, whole_number
from pinet_kedro.engines.staging import Staged, extended
from pinet_kedro.interactions.events import Cleaning, Interactions, Origin, incomplete, no_ratings, step_of
from pinet_kedro.interactions.sequences import Indexed, Sequences, user_runs
from pinet_kedro.interactions.stored_arrays import mapped_arrays, store_arrays

if TYPE_CHECKING:
    from ibis.expr.types import Table

CODES = {"user_id": "user", "item_id": "item"}
# The types of `read_interactions`.
_TYPES: dict[pa.DataType, Any] = {pa.string(): pd.StringDtype(), pa.int64(): pd.Int64Dtype(), pa.float64(): "float64"}


def blocks_of(engine: Engine, table: "Table") -> Iterator["Table"]:
    """The rows of a table of events by runs of users; rows without a user are one more block. At least one block."""
    if engine.partitions > 1:  # it divides a table itself
        yield table
        return
    counts = table.group_by("user").agg(events=table.count()).order_by("user").to_pyarrow()
    given = counts.filter(counts["user"].is_valid())
    users, events = (given[name].to_numpy() for name in ("user", "events"))
    # Each run reads the whole table where its users are in no order, so runs are longer than those that are sorted.
    for first, last in user_runs(np.append(0, np.cumsum(events)), 4 * engine.config.block_events):
        yield table.filter(table.user.between(int(users[first]), int(users[last - 1])))
    if len(given) < len(counts) or not len(counts):
        yield table.filter(table.user.isnull())


def groups_of(engine: Engine, table: "Table", columns: list[str]) -> Iterable["Table"]:
    """The distinct values of columns with their numbers of `rows` and the first `row`, by runs of users if possible."""
    blocks = blocks_of(engine, table) if "user" in columns else [table]
    return (cleaning.grouped(block, columns) for block in blocks)


class _InEngine:
    """What logs in an engine share."""

    engine: Engine

    def close(self) -> None:
        """Ends the engine, and deletes what is in it."""
        self.engine.close()

    @property
    def gate(self) -> type:
        """The gate that checks it."""
        from pinet_kedro.engines.gate import EngineGate

        return EngineGate


class RawTables(_InEngine):
    """Raw events of all files, in an engine; with a `threshold`, those that are rated so at least."""

    def __init__(self, engine: Engine, staged: Staged, threshold: float | None = None) -> None:
        self.engine = engine
        self.origin = staged.origin
        self.columns = staged.columns
        self.places = {name: CODES.get(name, name) for name in staged.columns}
        self._staged, self._threshold = staged, threshold
        self.rows = staged.rows if threshold is None else whole_number(self.staged.count())

    @cached_property
    def staged(self) -> "Table":
        """The events with their ids as text."""
        found = self.engine.read(self._staged.folder)
        return found if self._threshold is None else cleaning.rated(found, self._threshold)

    @cached_property
    def ids(self) -> dict[str, "Table"]:
        """`id, code` of users and items, by the name of the code's column."""
        return {
            code: self.engine.store(f"{code}s", [cleaning.codes(self.engine, self.staged, name)])
            for name, code in CODES.items()
            if name in self.columns
        }

    @cached_property
    def table(self) -> "Table":
        """The events with codes in place of ids."""
        return self.engine.store("coded", [cleaning.coded(self.staged, self.ids.get("user"), self.ids.get("item"))])

    @cached_property
    def distinct(self) -> "Table":
        """The events without repetitions, the first of each, with the number of their `rows`."""
        return self._distinct(self.table)

    def _distinct(self, table: "Table") -> "Table":
        return self.engine.store("distinct_events", map(cleaning.grouped, blocks_of(self.engine, table)))

    def number_of(self, column: str) -> int:
        """How many distinct values a column has."""
        return _number_of(self.ids, self.table, self.places[column])

    def known_unique(self, columns: list[str]) -> bool:  # noqa: ARG002
        """Raw events may repeat."""
        return False

    def groups(self, columns: list[str]) -> Iterable["Table"]:
        """As `groups_of`; of whole events, the stored ones."""
        return [self.distinct] if set(columns) == set(cleaning.EVENT) else groups_of(self.engine, self.table, columns)

    def frame(self, rows: list[int] | None) -> pd.DataFrame:
        """These rows, or any, labelled by their numbers from 1 through all files."""
        found = self.staged.limit(1) if rows is None else self.staged.filter(self.staged.row.isin(rows))
        return _canonical(found.order_by("row").to_pyarrow(), self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """As `Interactions.size`."""
        return self.rows, len(self.columns)

    def in_memory(self) -> Interactions:
        """All events, for what has no path on an engine."""
        events = _canonical(self.staged.order_by("row").to_pyarrow(), self.columns).reset_index(drop=True)
        self.close()
        return Interactions(events, self.origin)

    def joined(self, parts: Iterable[pd.DataFrame], source: str) -> "RawTables":
        """The log with the events of these tables after it, in the place of this one, which is not used any more."""
        return RawTables(self.engine, extended(self._staged, parts, source), self._threshold)

    def rated(self, config: Cleaning) -> "RawTables":
        """The events that reach the rating threshold, in the place of this log, which is not used any more."""
        if "rating" not in self.columns:
            raise no_ratings(config, self.origin.file)
        return RawTables(self.engine, self._staged, config.rating_threshold)

    def distinct_ids(self, column: str) -> pd.Index:
        """The ids, in the order of their first events."""
        code = CODES[column]
        found = self.table.group_by(code).agg(row=self.table.row.min()).order_by("row").to_pyarrow()
        return self.all_names(column).take(found[code].to_numpy())

    def all_names(self, column: str) -> pd.Index:
        """The ids in the order of their codes."""
        return index_of(self.ids[CODES[column]].order_by("code").select("id").to_pyarrow()["id"])

    def cleaned(self, config: Cleaning) -> tuple["CleanTables", pd.DataFrame]:
        """The remaining events, and the table of what each rule dropped; as `interactions.events.clean_events`."""
        steps: list[dict[str, object]] = []
        sizes = [self.rows, *(whole_number(self.ids[code].count()) for code in CODES.values())]
        table, store = self.table, self.engine.store

        def count(rule: str, now: list[int]) -> None:
            nonlocal sizes
            dropped = tuple(before - after for before, after in zip(sizes, now, strict=True))
            steps.append(step_of(self.origin.file, rule, config, dropped))  # type: ignore[arg-type]
            sizes = now

        if whole_number(table.filter(table.user.isnull() | table.item.isnull() | table.timestamp.isnull()).count()):
            raise incomplete(self.origin.file)
        if config.rating_threshold is not None:
            if "rating" not in self.columns:
                raise no_ratings(config, self.origin.file)
            table = store("rated", [cleaning.rated(table, config.rating_threshold)])
            left = [table.count(), table.user.nunique(), table.item.nunique()]
            count("rating threshold", [whole_number(value) for value in left])
        table = self.distinct if config.rating_threshold is None else self._distinct(table)
        count("exact duplicates", [whole_number(table.count()), *sizes[1:]])
        kept = {
            code: store(f"kept_{code}s", [cleaning.kept_codes(self.engine, self.ids[code], counts)])
            for code, counts in cleaning.core(self.engine, table, config).items()
        }
        table = store("clean", [cleaning.renumbered(table, kept)])
        count("k-core", [whole_number(table.count()), *(whole_number(kept[code].count()) for code in CODES.values())])
        return CleanTables(self.engine, table, kept, self.origin), pd.DataFrame(steps)


class CleanTables(_InEngine):
    """Clean events in an engine: `user, item, timestamp, row`, and `id, old, code, events` of users and items."""

    def __init__(self, engine: Engine, table: "Table", ids: dict[str, "Table"], origin: Origin) -> None:
        self.engine = engine
        self.table = table
        self.ids = ids
        self.origin = replace(origin, parts=())  # rows are counted through the clean events
        self.places = {**CODES, "timestamp": "timestamp"}
        self.rows = whole_number(table.count())

    @cached_property
    def arrays(self) -> "SortedArrays":
        """The events as the arrays of `Sequences`, in files of the engine's folder."""
        return sorted_arrays(self.engine, self.table, self._counts, self.engine.folder / "arrays")

    @cached_property
    def _counts(self) -> np.ndarray:
        """Numbers of events of the users."""
        return self.ids["user"].order_by("code").select("events").to_pyarrow()["events"].to_numpy()

    def number_of(self, column: str) -> int:
        """How many distinct values a column has."""
        return _number_of(self.ids, self.table, self.places[column])

    def known_unique(self, columns: list[str]) -> bool:
        """Whether no two rows are equal in these columns, where the arrays show it."""
        return set(columns) == set(cleaning.EVENT) and self.arrays.unique

    def groups(self, columns: list[str]) -> Iterable["Table"]:
        """As `groups_of`."""
        return groups_of(self.engine, self.table, columns)

    def frame(self, rows: list[int] | None) -> pd.DataFrame:
        """These rows (by their raw numbers), or any, labelled by their numbers from 1 in the clean events."""
        table = self.table
        found = table.limit(1) if rows is None else table.filter(table.row.isin(rows))
        frame = self._named(found)
        labels = [whole_number((table.row <= int(row)).sum()) for row in frame.index]
        return frame.set_axis(pd.Index(labels), axis=0)

    def _named(self, events: "Table") -> pd.DataFrame:
        """Events in canonical types with their raw ids, labelled by their raw numbers."""
        for code, ids in self.ids.items():
            events = events.left_join(ids.select(**{f"{code}_id": ids.id, code: ids.code}), code)
        return _canonical(events.order_by("row").to_pyarrow(), list(self.places)).astype({"timestamp": "int64"})

    @cached_property
    def users(self) -> pd.DataFrame:
        """`user_id, activeness` (events), in the order of the users' first events."""
        first = self.table.group_by("user").agg(activeness=self.table.count(), row=self.table.row.min())
        users = self.ids["user"]
        found = (
            first.inner_join(users, first.user == users.code).order_by("row").select("id", "activeness").to_pyarrow()
        )
        frame = found.to_pandas().rename(columns={"id": "user_id"})
        return frame.astype({"user_id": "string", "activeness": "int64"})

    def in_memory(self) -> Interactions:
        """All events, where they are stored as a table; the engine is closed."""
        events = self._named(self.table).reset_index(drop=True)
        self.close()
        return Interactions(events, self.origin)

    def write(self, folder: Path) -> None:
        """The events as the arrays of `Sequences`, and the ids, in this folder; then the engine is closed."""
        for file in self.arrays.folder.iterdir():
            shutil.move(file, folder)
        for name, code in (("users", "user"), ("items", "item")):
            pq.write_table(self.ids[code].order_by("code").select("id").to_pyarrow(), folder / f"{name}.parquet")
        self.engine.close()


def _number_of(ids: dict[str, "Table"], table: "Table", column: str) -> int:
    return whole_number(ids[column].count() if column in ids else table[column].nunique())


@dataclass(frozen=True)
class CleanLog:
    """A stored clean log: memory-mapped arrays, and raw ids."""

    folder: Path

    def indexed(self) -> Indexed:
        """As `Interactions.indexed`."""
        ids = [pd.read_parquet(self.folder / f"{name}.parquet")["id"] for name in ("users", "items")]
        users, items = (pd.Index(values.astype("string").array) for values in ids)
        return mapped_arrays(Sequences, self.folder), users, items


def write_indexed(indexed: Indexed, folder: Path) -> None:
    """Sequences and ids in memory as a clean log in this folder."""
    sequences, users, items = indexed
    store_arrays(sequences, folder)
    for name, ids in (("users", users), ("items", items)):
        pq.write_table(pa.table({"id": pa.array(ids, pa.string())}), folder / f"{name}.parquet")


def index_of(ids: "pa.ChunkedArray") -> pd.Index:
    """Ids as pandas has them."""
    return pd.Index(_TYPES[pa.string()].__from_arrow__(ids))


def _canonical(events: "pa.Table", columns: list[str]) -> pd.DataFrame:
    """The columns in the types that `read_interactions` gives them, labelled by `row`."""

    def typed(name: str) -> Any:
        kind = _TYPES[events.schema.field(name).type]
        return events[name].to_pandas().to_numpy() if kind == "float64" else kind.__from_arrow__(events[name])

    return pd.DataFrame({name: typed(name) for name in columns}, index=pd.Index(events["row"].to_numpy()))
