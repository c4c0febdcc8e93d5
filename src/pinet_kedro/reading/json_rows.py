"""JSON lines, or one JSON array of objects, as raw columns of text."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pinet_kedro.errors import InputError
from pinet_kedro.reading.raw_file import RawFile, RawTable

_BATCH_LINES = 50_000  # as Python objects in memory at a time
# MongoDB's extended JSON wraps ids, dates and numbers in an object with one of these keys.
_WRAPPERS = {"$oid", "$uuid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"}


def json_rows(file: RawFile) -> RawTable:
    """The requested columns; a key may be missing in some rows."""
    content = file.text()
    batches = [_array(file.path, content)] if content.lstrip()[:1] == b"[" else _objects(file.path, content)
    present: dict[str, None] = {}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in file.wanted}
    row = 1
    for batch in batches:
        for keys in dict.fromkeys(map(tuple, batch)):
            present |= dict.fromkeys(keys)
        for name in file.wanted:
            values = [entry.get(name) for entry in batch]
            read, kind = (_lists, pa.list_(pa.string())) if name in file.lists else (_scalars, pa.string())
            chunks[name].append(pa.array(read(file.path, name, values, row), kind))
        row += len(batch)
    names = file.requested(list(present))
    return RawTable({name: pa.chunked_array(chunks[name]) for name in names}, list(present))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


# Numbers stay text, since a float would round ids and times. NaN and Infinity become floats and are refused later.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=float, object_pairs_hook=_unique)


def _objects(path: Path, content: bytes) -> Iterator[list[dict[str, Any]]]:
    """The rows of JSON lines, batch by batch."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(io.BytesIO(content), 1):
        if line.strip():
            lines.append((number, line.decode()))
        if len(lines) == _BATCH_LINES:
            yield _parsed(path, lines)
            lines = []
    if lines:
        yield _parsed(path, lines)


def _parsed(path: Path, lines: list[tuple[int, str]]) -> list[dict[str, Any]]:
    try:
        batch = _DECODER.decode(f"[{','.join(line for _, line in lines)}]")
        if len(batch) == len(lines) and set(map(type, batch)) == {dict}:
            return batch
    except ValueError:
        pass  # the loop below finds the line
    for number, line in lines:
        try:
            value = _DECODER.decode(line)
        except ValueError as error:
            raise InputError(
                f"{path}: line {number} is not a JSON object ({error}). Write one object per line, or an "
                "array of objects."
            ) from error
        if not isinstance(value, dict):
            raise InputError(f"{path}: line {number} is not a JSON object but {_short(value)}.")
    raise InputError(f"{path}: lines {lines[0][0]} to {lines[-1][0]} are not one JSON object each.")


def _array(path: Path, content: bytes) -> list[dict[str, Any]]:
    try:
        rows = _DECODER.decode(content.decode())
    except ValueError as error:
        raise InputError(f"{path}: begins like a JSON array but is not one ({error}).") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: entry {number} of the JSON array is not an object but {_short(row)}.")
    return rows


def _scalars(path: Path, name: str, values: list[Any], first: int) -> list[str | None]:
    """The values as text, without the wrappers of extended JSON. Raises `InputError` for any other kind of value."""
    if set(map(type, values)) <= {str, type(None)}:
        return values
    unwrapped = [_unwrapped(value) if isinstance(value, dict) else value for value in values]
    for row, value in enumerate(unwrapped, first):
        if not isinstance(value, str | None):
            raise InputError(
                f"{path}: column {name!r}, row {row}: {_short(value)} is neither text nor a number. Name a column "
                "of plain values, or correct the row."
            )
    return unwrapped


def _lists(path: Path, name: str, values: list[Any], first: int) -> list[list[str | None] | None]:
    """The values as lists of texts; a single text becomes a list. Raises `InputError` as `_scalars`."""
    whole = [value if isinstance(value, list | None) else [value] for value in values]
    return [entries and _scalars(path, name, entries, row) for row, entries in enumerate(whole, first)]


def _unwrapped(value: dict[str, Any]) -> Any:
    if len(value) == 1 and (key := next(iter(value))) in _WRAPPERS:
        inner = value[key]
        return _unwrapped(inner) if isinstance(inner, dict) else inner
    return value


def _short(value: object) -> str:
    text = json.dumps(value) if isinstance(value, dict | list | bool | None) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
