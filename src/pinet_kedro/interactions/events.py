"""From raw tables of interactions to canonical, clean events.

A canonical event has `user_id` and `item_id` (strings), `timestamp` (int64, nanoseconds since 1970 in UTC, or the
position in the user's history if the source publishes only the order) and, if the source has one, `rating` (float).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool
from pydantic import BeforeValidator, Field

from pinet_kedro.configuration import LARGEST, Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.codes import encode, repeated
from pinet_kedro.interactions.files import files_of
from pinet_kedro.interactions.ids import spell
from pinet_kedro.interactions.sequences import Indexed, build_sequences
from pinet_kedro.reading.nanoseconds import in_nanoseconds
from pinet_kedro.reading.raw_file import RawTable
from pinet_kedro.reading.tables import read_blocks
from pinet_kedro.reading.time_values import Times
from pinet_kedro.reading.times import check_unit, read_times

EVENT = ["user_id", "item_id", "timestamp"]  # what every event has; equal ones count once
_EXAMPLES = 5  # of unreadable times

# A header may consist of numbers, and `--params=user=0` is parsed as a number.
ColumnName = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]


class Columns(Configuration):
    """Names of the columns in the source file."""

    user: ColumnName = "user_id"
    item: ColumnName = "item_id"
    timestamp: ColumnName = "timestamp"
    rating: ColumnName | None = None

    def renaming(self) -> dict[str, str]:
        """Source name -> canonical name, for the columns that are declared."""
        names = {self.user: "user_id", self.item: "item_id", self.timestamp: "timestamp"}
        if self.rating:
            names[self.rating] = "rating"
        return names


class Cleaning(Configuration):
    """Which events are kept for training and evaluation."""

    rating_threshold: float | None = Field(
        None, description="keep events with at least this rating; null keeps all (implicit feedback)"
    )
    min_user_events: int = Field(5, ge=3, le=LARGEST, description="k-core; leave-one-out needs at least 3 per user")
    min_item_events: int = Field(5, ge=1, le=LARGEST, description="k-core")
    # Omitted if false, so that hashes computed before this field existed stay valid.
    items_without_events: bool = Field(
        False, exclude_if=lambda value: not value, description="items of item_metadata without events are candidates"
    )


@dataclass(frozen=True)
class Origin:
    """Where events come from, for messages: facts about the file that the canonical table does not contain.

    `columns`: canonical name -> name in the file; `present`: all columns of the file; `unreadable`: examples of
    timestamps that cannot be read, each with its row from 0; `unit`: the unit of numeric timestamps; `form`: how
    timestamps were read, in words; `parts`: the files and their numbers of rows, in their order. `clock` is False if
    timestamps give only the order; `log` is False if the events are only a part of a log, which may be small.
    """

    file: str = "the data"
    columns: Mapping[str, str] = field(default_factory=dict)
    present: Sequence[str] = ()
    unreadable: Sequence[tuple[int, str]] = ()
    unit: str | None = None
    clock: bool = True
    log: bool = True
    form: str = ""
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows of all files."""
        return sum(rows for _, rows in self.parts)

    def place(self, row: int) -> str:
        """Where row `row`, from 1, of the log is: its number, and its file where there are several."""
        names = [Path(file).name for file, _ in self.parts]
        for name, (file, rows) in zip(names, self.parts, strict=True) if len(names) > 1 else ():
            if row <= rows:
                return f"{name if names.count(name) == 1 else file}, row {row}"
            row -= rows
        return f"row {row}"


@dataclass(frozen=True)
class Interactions:
    """Canonical events, and where they come from."""

    events: pd.DataFrame
    origin: Origin

    @classmethod
    def of(cls, data: "Interactions | pd.DataFrame") -> "Interactions":
        """The data itself; a plain table, for example from a dataset class of the user, gets an unknown origin."""
        return cls.canonical(data, "the data") if isinstance(data, pd.DataFrame) else data

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.events.shape

    def in_memory(self) -> "Interactions":
        """The data themselves; a log in an engine is read, and its engine closed."""
        return self

    def close(self) -> None:
        """Nothing is open, as it is of a log in an engine."""

    def cleaned(self, config: "Cleaning") -> tuple["Interactions", pd.DataFrame]:
        """The remaining events, and the table of `clean_events`."""
        left, dropped = clean_events(self.events, config, self.origin.file)
        return Interactions(left, replace(self.origin, parts=())), dropped

    def indexed(self) -> Indexed:
        """The sequences of clean events, and the raw ids of their users and items."""
        return build_sequences(self.events)

    @classmethod
    def canonical(cls, events: pd.DataFrame, source: str) -> "Interactions":
        """Events that already have canonical columns and times, from `source`."""
        names = [str(name) for name in events.columns]
        return cls(events, Origin(source, dict(zip(names, names, strict=True)), names))


def read_interactions(source: Path, columns: Columns, unit: str = "auto") -> Interactions:
    """Canonical events of a file, in its order, not yet validated; or of all files of a folder or a pattern.

    Of several files, in the order of their names, each is read as one alone; they must agree in the columns that they
    have and in how their times are read. A declared column that the files lack is absent from the events, and a
    timestamp that cannot be read is null: the validation gate reports both, together with all other errors.

    Raises `InputError` if a file is missing, empty, of an unknown format or not of the format that its ending names,
    if a row has too many or too few fields, if a value is not an id, and if the times are ambiguous.
    """
    parts = list(read_parts(source, columns, unit))
    origin = joined_origin(source, [part.origin for part in parts])
    events = parts[0].events if len(parts) == 1 else pd.concat([part.events for part in parts], ignore_index=True)
    return Interactions(events, origin)


def read_parts(source: Path, columns: Columns, unit: str = "auto", rows: int | None = None) -> Iterator[Interactions]:
    """Canonical events of one file after the other, of a Parquet file in blocks of `rows` rows if that is given.

    Times and ids of a block are read as those of a file alone. Raises `InputError` as `read_interactions`.
    """
    unit = check_unit(unit)
    renaming = columns.renaming()
    if len(renaming) < 3 + (columns.rating is not None):
        raise InputError(f"{source}: one column is declared twice: {columns.model_dump()}. Each role needs its own.")
    known: Origin | None = None
    for path in files_of(source):
        first = 0
        for raw in read_blocks(path, list(renaming), columns.timestamp, rows=rows):
            part = _interpreted(raw, path, columns, unit, first)
            if known is not None:
                _require_alike(part.origin, known)
            known = part.origin if known is None or not known.form else known
            first += len(part.events)
            yield part


def _interpreted(raw: RawTable, path: Path, columns: Columns, unit: str, first: int) -> Interactions:
    """The events of rows that begin with row `first` of the file."""
    renaming = columns.renaming()
    found: dict[str, Any] = {}
    times: Times | None = None
    try:
        for source, values in raw.columns.items():
            name, where = renaming[source], f"{path}: column {source!r}"
            if name == "timestamp":
                times = read_times(values, unit, f"{where} (timestamp)")
                found[name] = times.values
            elif name == "rating":
                found[name] = _as_number(values)
            else:
                found[name] = spelled(values, f"{where} ({name})")
    except InputError as error:
        if not first:
            raise
        message = re.sub(r"\brow (\d+)", lambda match: f"row {int(match[1]) + first}", str(error))
        raise InputError(message) from error
    events = pd.DataFrame({name: found[name] for name in renaming.values() if name in found}, copy=False)
    given = times is not None and not times.values.isna().all()
    origin = Origin(
        file=str(path),
        columns={canonical: source for source, canonical in renaming.items()},
        present=raw.present,
        unreadable=times.unreadable if times else (),
        unit=times.unit if times else None,
        clock=unit != "order",
        form=(times.form or times.unit or "typed dates") if times and given else "",
        parts=((str(path), len(events)),),
    )
    return Interactions(events, origin)


def _require_alike(part: Origin, known: Origin) -> None:
    """Raises `InputError` if two parts of a log differ in their columns or in how their times are read."""
    for name, column in part.columns.items():
        if (column in part.present) != (column in known.present):
            has, lacks = (known, part) if column in known.present else (part, known)
            raise InputError(
                f"{lacks.file}: column {column!r} ({name}) is missing, and {has.file} has it. The files of one log "
                "have the same columns; correct the file or remove it."
            )
    if part.form and known.form and part.form != known.form:
        raise InputError(
            f"{part.file}: column {part.columns['timestamp']!r} (timestamp) is read in another way ({part.form}) than "
            f"in {known.file} ({known.form}). The times of one log have one unit or one format of dates: convert the "
            "files, or say what they hold with timestamp_unit=s, ms, us, ns or a format of dates."
        )


def joined_origin(source: Path, parts: Sequence[Origin]) -> Origin:
    """The origin of a log that consists of these parts, in this order; rows are counted through all of them."""
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0, *(part.rows for part in parts)]).tolist()
    unreadable = [
        (first + row, text) for first, part in zip(before, parts, strict=False) for row, text in part.unreadable
    ]
    rows: dict[str, int] = {}
    for part in parts:
        rows[part.file] = rows.get(part.file, 0) + part.rows
    decided = next((part for part in parts if part.form), parts[0])
    return replace(decided, file=str(source), unreadable=unreadable[:_EXAMPLES], parts=tuple(rows.items()))


def spelled(ids: pa.ChunkedArray | pd.Series, where: str) -> Any:
    """The ids of a column in their canonical spelling, as pandas strings; `where` names the column in messages."""
    if isinstance(ids, pd.Series):
        ids = pa.chunked_array(pa.array(ids))
    dtype: Any = pd.StringDtype()  # missing in pandas' type stubs
    return dtype.__from_arrow__(spell(ids, where))


def as_read_now(events: pd.DataFrame, where: str) -> pd.DataFrame:
    """Stored events as they are read now; earlier versions stored seconds, and '7.0' for the id 7."""
    ids = {name: spelled(events[name], f"{where} {name}") for name in ("user_id", "item_id")}
    return events.assign(timestamp=in_nanoseconds(events["timestamp"]), **ids)


def _as_number(values: pa.ChunkedArray) -> np.ndarray:
    """The values as float64; NaN where a value is missing or not a number."""
    return pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)


def clean_events(events: pd.DataFrame, config: Cleaning, file: str = "the data") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The remaining events, and a table of what each rule dropped (`source, rule, why, rows, users, items`).

    Order of the rules: rating threshold, exact duplicates (same user, item and time; the first stays), then the
    k-core, repeated until every remaining user and item has the minimum. The order of the events is kept. `source` is
    the name of `file`.
    """
    if events[EVENT].isna().any(axis=None):
        raise incomplete(file)
    steps: list[dict[str, object]] = []
    # Codes of the remaining events; `left` is their mask among all events.
    codes = [encode(events[name])[0].astype(np.intp) for name in ("user_id", "item_id")]
    left = np.ones(len(events), dtype=bool)

    def keep(enough: np.ndarray, rule: str) -> None:
        nonlocal codes
        dropped = len(enough) - int(np.count_nonzero(enough))
        before = [_distinct(column) for column in codes]
        if dropped:
            left[left] = enough
            codes = [column[enough] for column in codes]
        users, items = (count - _distinct(column) for count, column in zip(before, codes, strict=True))
        steps.append(step_of(file, rule, config, (dropped, users, items)))

    if config.rating_threshold is not None:
        keep(rated_enough(events, config, file), "rating threshold")
    time = events["timestamp"].to_numpy(np.int64)
    time = time if left.all() else time[left]
    keep(~repeated([*codes, time], keep="first"), "exact duplicates")
    user, item = codes
    core = _core(user, item, config.min_user_events, config.min_item_events)
    keep(core, "k-core")
    # Column by column: selecting rows of a frame is slow on text in many chunks.
    events = pd.DataFrame({name: column.array[left] for name, column in events.items()})
    events["timestamp"] = events["timestamp"].astype("int64")
    return events, pd.DataFrame(steps)


def incomplete(file: str) -> InputError:
    """The error of events without user, item or time."""
    what = "an event has no user, no item or no time, and the expectations let it pass"
    return InputError(f"{file}: {what}. Cleaning needs all three: correct the rows, or remove them.")


def step_of(file: str, rule: str, config: Cleaning, dropped: tuple[int, int, int]) -> dict[str, object]:
    """A row of the table of what cleaning drops: rows, users and items."""
    why = {
        "rating threshold": f"rated below {config.rating_threshold or 0:g}: not a preference",
        "exact duplicates": "same user, item and time: logged twice",
        "k-core": f"users below {config.min_user_events} or items below {config.min_item_events} events teach nothing",
    }
    counts = dict(zip(("rows", "users", "items"), dropped, strict=True))
    return {"source": Path(file).name, "rule": rule, "why": why[rule], **counts}


def rated_enough(events: pd.DataFrame, config: Cleaning, file: str = "the data") -> Bool[np.ndarray, " N"]:
    """Mask of the events that reach the rating threshold, all if there is none; `InputError` without ratings."""
    if config.rating_threshold is None:
        return np.ones(len(events), bool)
    if "rating" not in events:
        raise no_ratings(config, file)
    return (events["rating"] >= config.rating_threshold).to_numpy(bool)


def no_ratings(config: Cleaning, file: str) -> InputError:
    """The error of a threshold for a log without ratings."""
    return InputError(
        f"parameter cleaning.rating_threshold = {config.rating_threshold}, but {file} has no rating column. Name it "
        "(rating=…) or set the threshold to null."
    )


def _distinct(codes: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _core(user: np.ndarray, item: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Mask of the largest subset of events in which every user and every item has the minimum number of events."""
    mask = np.ones(len(user), dtype=bool)
    while True:
        enough = (np.bincount(user) >= min_user)[user] & (np.bincount(item) >= min_item)[item]
        if enough.all():
            return mask
        mask[mask] = enough
        user, item = user[enough], item[enough]
