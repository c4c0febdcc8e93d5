"""Raw tables of interactions to canonical, clean events.

A canonical event has `user_id` and `item_id` (strings), `timestamp` (int64, seconds since 1970, or the position in
the user's history where a source publishes only the order) and, where the source has one, `rating` (float).
"""

import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.codes import encode, repeated

TimestampUnit = Literal["auto", "s", "ms", "us", "ns", "date", "order"]

# A clock reading above this is not in seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
_SECONDS_LIMIT = 1e11
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXAMPLES = 5


class Columns(Configuration):
    """Names of the columns in the source file."""

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    rating: str | None = None

    def renaming(self) -> dict[str, str]:
        """Source name -> canonical name, for the columns that are declared."""
        names = {self.user: "user_id", self.item: "item_id", self.timestamp: "timestamp"}
        if self.rating:
            names[self.rating] = "rating"
        return names


class Cleaning(Configuration):
    """Which events count as interactions worth learning from."""

    rating_threshold: float | None = Field(
        None, description="keep events rated at least this; null keeps all (implicit feedback)"
    )
    min_user_events: int = Field(5, ge=3, description="k-core; leave-one-out itself needs 3 events a user")
    min_item_events: int = Field(5, ge=1, description="k-core")


def _text_reader(separator: str) -> Callable[..., pd.DataFrame]:
    def read(path: Path, columns: dict[str, type]) -> pd.DataFrame:
        header = pd.read_csv(path, sep=separator, nrows=0).columns
        return pd.read_csv(
            path,
            sep=separator,
            usecols=[name for name in columns if name in header],
            dtype={name: kind for name, kind in columns.items() if kind is str},
            engine="c",
            keep_default_na=False,  # an id may well be "NA" or "null"
            na_values=[""],
        )

    return read


def _json_lines(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    # dtype=False keeps "007" a string; convert_dates=False keeps our own reading of time.
    frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    return frame[[name for name in columns if name in frame]]


def _parquet(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    import pyarrow.parquet as pq

    present = set(pq.read_schema(path).names)
    return pd.read_parquet(path, columns=[name for name in columns if name in present])


READERS: dict[str, Callable[[Path, dict[str, type]], pd.DataFrame]] = {
    ".csv": _text_reader(","),
    ".tsv": _text_reader("\t"),
    ".inter": _text_reader("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".parquet": _parquet,
}


def _reader(path: Path) -> Callable[[Path, dict[str, type]], pd.DataFrame]:
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in {".gz", ".bz2", ".xz", ".zst"}]
    if not suffixes or suffixes[-1] not in READERS:
        raise InputError(
            f"{path}: the format is taken from the file's ending, and '{''.join(path.suffixes)}' is none of "
            f"{', '.join(READERS)} (text formats also with .gz). Rename the file or convert it."
        )
    return READERS[suffixes[-1]]


def read_interactions(path: Path, columns: Columns, unit: TimestampUnit = "auto") -> pd.DataFrame:
    """Canonical events of one file, in the file's order, not yet validated.

    A declared column that the file lacks is absent from the result, and a timestamp that cannot be read is null:
    the validation gate reports both with everything else that is wrong. `attrs` carries what its message needs:
    `file`, `columns` (canonical name -> name in the file), `present` (all columns of the file), `unreadable`
    (examples of timestamps, with their row) and `clock` (False where timestamps are mere positions).

    Raises `InputError` when the file is missing, empty, of an unknown format or not what its ending says.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path; it is relative to the project's folder.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes).")
    renaming = columns.renaming()
    if len(renaming) < 3 + (columns.rating is not None):
        raise InputError(f"{path}: one column is declared twice: {columns.model_dump()}. Each role needs its own.")
    kinds: dict[str, type] = {name: str if name in (columns.user, columns.item) else object for name in renaming}
    try:
        raw = _reader(path)(path, kinds)
    except InputError:
        raise
    # pandas' and pyarrow's parse errors are ValueErrors; a compression may need a package (ImportError).
    except (ValueError, OSError, EOFError, ImportError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be read as its ending says ({type(error).__name__}: {error}).") from error
    events = raw.rename(columns=renaming)
    events = events[[name for name in renaming.values() if name in events]]
    for name in ("user_id", "item_id"):
        if name in events:
            events[name] = _as_id(events[name])
    unreadable: list[tuple[int, str]] = []
    if "timestamp" in events:
        seconds = _as_seconds(events["timestamp"], unit)
        lost = np.flatnonzero(seconds.isna() & events["timestamp"].notna())[:_EXAMPLES]
        unreadable = [(int(i), str(events["timestamp"].iloc[i])) for i in lost]
        events["timestamp"] = seconds
    if "rating" in events:
        events["rating"] = pd.to_numeric(events["rating"], errors="coerce").astype("float64")
    events.attrs = {
        "file": str(path),
        "columns": {canonical: source for source, canonical in renaming.items()},
        "present": _column_names(path),
        "unreadable": unreadable,
        "clock": unit != "order",
    }
    return events


def _column_names(path: Path) -> list[str]:
    reader = _reader(path)
    if reader is _parquet:
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    if reader is _json_lines:
        return list(pd.read_json(path, lines=True, nrows=1).columns)
    separator = "," if reader is READERS[".csv"] else "\t"
    return list(pd.read_csv(path, sep=separator, nrows=0).columns)


def _as_id(values: pd.Series) -> pd.Series:
    """The ids as strings, nulls kept; 7 and 7.0 (an integer column that once held a null) are both '7'."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    text = values.astype("string")
    return text.mask(text.str.strip() == "")


def _as_seconds(values: pd.Series, unit: TimestampUnit) -> pd.Series:
    """Seconds since 1970 (or positions, for unit 'order') as nullable Int64; unreadable values are null."""
    if unit != "date" and pd.api.types.is_signed_integer_dtype(values):
        whole = values.astype("Int64")  # no way round by floats: a log may hold many millions
        scale = _scale(whole, unit)
        return whole if scale == 1 else whole // scale
    if unit != "date" and not pd.api.types.is_datetime64_any_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
        if unit != "auto" or numbers.notna().sum() > values.notna().sum() / 2:
            scale = _scale(numbers, unit)
            numbers = numbers.where(np.isfinite(numbers))
            return (numbers // scale).astype("Int64")
    if not pd.api.types.is_datetime64_any_dtype(values):
        values = _as_id(values)  # 20200913 read as a number is a date all the same
    dates = pd.to_datetime(values, errors="coerce", utc=True, format="mixed")
    seconds = dates.dt.tz_localize(None).astype("datetime64[s]").astype("int64").astype("Int64")
    return seconds.mask(dates.isna())


def _scale(numbers: pd.Series, unit: TimestampUnit) -> int:
    """How many of the unit make a second; unit 'auto' is the coarsest that puts all numbers before the year 5138."""
    if unit != "auto":
        return _PER_SECOND.get(unit, 1)
    largest = max(abs(numbers.min()), abs(numbers.max()))
    return next((n for n in _PER_SECOND.values() if largest <= _SECONDS_LIMIT * n), 10**9)


def clean_events(events: pd.DataFrame, config: Cleaning) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The events that remain, and a table of what each rule dropped (`rule, why, rows, users, items`; attrs: `source`).

    Order of the rules: rating threshold, exact duplicates (same user, item and time; the first stays), then the
    k-core, repeated until every user and item left has its minimum. The order of the file is kept.
    """
    steps: list[dict[str, object]] = []
    attrs, events = events.attrs, events.copy(deep=False)
    events.attrs = {}  # pandas compares attrs at every step
    # Of the events that remain; `left` is their mask in the whole.
    codes = [encode(events[name])[0].astype(np.intp) for name in ("user_id", "item_id")]
    left = np.ones(len(events), dtype=bool)

    def keep(enough: np.ndarray, rule: str, why: str) -> None:
        nonlocal codes
        dropped = len(enough) - np.count_nonzero(enough)
        before = [_distinct(column) for column in codes]
        if dropped:
            left[left] = enough
            codes = [column[enough] for column in codes]
        users, items = (count - _distinct(column) for count, column in zip(before, codes, strict=True))
        steps.append({"rule": rule, "why": why, "rows": dropped, "users": users, "items": items})

    if config.rating_threshold is not None:
        if "rating" not in events:
            raise InputError(
                f"parameter cleaning.rating_threshold = {config.rating_threshold}, but {attrs.get('file', 'the data')} "
                "has no rating column. Name it (rating=…) or set the threshold to null."
            )
        liked = (events["rating"] >= config.rating_threshold).to_numpy(bool)
        keep(liked, "rating threshold", f"rated below {config.rating_threshold:g}: not a preference")
    time = events["timestamp"].to_numpy(np.int64)
    time = time if left.all() else time[left]
    keep(~repeated([*codes, time], keep="first"), "exact duplicates", "same user, item and time: logged twice")
    user, item = codes
    core = _core(user, item, config.min_user_events, config.min_item_events)
    why = f"users below {config.min_user_events} or items below {config.min_item_events} events teach nothing"
    keep(core, "k-core", why)
    # Column by column: pandas takes rows of a frame by their numbers, which is slow on text in many chunks.
    events = pd.DataFrame({name: column.array[left] for name, column in events.items()})
    events["timestamp"] = events["timestamp"].astype("int64")
    events.attrs = attrs
    report = pd.DataFrame(steps)
    report.attrs = {"source": Path(attrs.get("file", "unnamed")).name}
    return events, report


def _distinct(codes: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _core(user: np.ndarray, item: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Mask of the events in the largest subset where every user and every item has its minimum of events."""
    mask = np.ones(len(user), dtype=bool)
    while True:
        enough = (np.bincount(user) >= min_user)[user] & (np.bincount(item) >= min_item)[item]
        if enough.all():
            return mask
        mask[mask] = enough
        user, item = user[enough], item[enough]
