"""The log of answers that `kedro serve` writes (`scoring_server/answer_log.py`), as one table."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json
from jaxtyping import Int

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.ids import spell_ids
from pinet_kedro.project import short_path

_TEXTS = ("time", "user", "stratum", "version", "arm", "split")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), ("items", pa.list_(pa.string()))])
_NANOSECONDS = "datetime64[ns, UTC]"


@dataclass(frozen=True)
class Answers:
    """Answers to users: the columns `user, time` (nanoseconds since 1970), `stratum, version, arm, split` of `table`,
    one row each, and their recommended `items`, those of row i from `offsets[i]` to `offsets[i + 1]`.

    `skipped` counts lines that were not complete, because their writer was killed.
    """

    table: pd.DataFrame
    items: np.ndarray
    offsets: Int[np.ndarray, " A1"]
    skipped: int = 0


def read_answers(folder: Path) -> Answers:
    """All answers in the files of the folder; none where there is no file.

    Raises `InputError` with file and line where a line is not an answer. A last line without its end is skipped.
    """
    tables, skipped = [_SCHEMA.empty_table()], 0
    for path in sorted(folder.glob("answers-*.jsonl")):
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1
        skipped += bool(content[complete:])
        if complete:
            tables.append(_parsed(path, content[:complete]))
    found = pa.concat_tables(tables).combine_chunks()
    lists = found["items"].combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # more than 2 GB of text
        raise InputError(f"{short_path(folder)} has too many answers to read at once: remove the oldest files.")
    table = pd.DataFrame(
        {name: found[name].to_pandas().astype(object) for name in ("stratum", "version", "arm", "split")}
    )
    table["user"] = _spelled(found["user"].combine_chunks())
    table["time"] = (
        pd.to_datetime(found["time"].to_pandas(), format="ISO8601", utc=True).astype(_NANOSECONDS).astype("int64")
    )
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64)
    return Answers(table, _spelled(lists.flatten()), offsets, skipped)


def _parsed(path: Path, content: bytes) -> pa.Table:
    options = pa.json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    try:
        content.decode()
        table = pa.json.read_json(io.BytesIO(content), pa.json.ReadOptions(block_size=len(content) + 1), options)
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
        times = pd.to_datetime(table["time"].to_pandas(), format="ISO8601", utc=True, errors="coerce")
        inner = table["items"].combine_chunks().flatten()
        if not (any(column.null_count for column in table.columns) or inner.null_count or times.isna().any()):
            return table
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError):
        pass  # the loop below finds the line
    for number, line in enumerate(content.split(b"\n"), 1):
        if why := _fault(line):
            raise InputError(
                f"{short_path(path)}, line {number}: {why}. Nothing is counted from a damaged log: remove the line or "
                "the file."
            )
    raise InputError(f"{short_path(path)} is not a log of answers. Remove the file.")


def _fault(line: bytes) -> str | None:
    """What is wrong with a line; None for a good one and for an empty one."""
    if not line:
        return None
    try:
        answer = json.loads(line)
    except ValueError:
        return "it is not JSON"
    if not isinstance(answer, dict):
        return "it is not a JSON object"
    for name in _TEXTS:
        if not isinstance(answer.get(name), str):
            return f"'{name}' is missing or is not text"
    if not isinstance(answer.get("items"), list) or not all(isinstance(item, str) for item in answer["items"]):
        return "'items' is missing or is not a list of ids"
    if pd.isna(pd.to_datetime(answer["time"], format="ISO8601", utc=True, errors="coerce")):
        return f"'{answer['time'][:60]}' is not a time"
    return None


def _spelled(ids: pa.Array) -> np.ndarray:
    """The ids as interactions spell them: those of a request may have another spelling."""
    encoded = ids.dictionary_encode()
    return np.array([*spell_ids(encoded.dictionary.to_pylist()), None], object)[encoded.indices.to_numpy()]
