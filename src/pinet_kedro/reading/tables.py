"""Files of interactions to raw columns: what is written in them, all of it or a refusal, and nothing read into it.

Text formats (CSV, TSV, `.inter`, JSON) give every value as it is written, Parquet gives it as it is typed. What an id
or a time is, is decided elsewhere (`ids.py`, `times.py`).
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pinet_kedro.errors import InputError

_BATCH_LINES = 50_000  # of JSON, as Python objects in memory at a time
_LONGEST_ROW = 2**26  # bytes
_TIME_DIGITS = 6  # no clock reading and no date has fewer
_CONTENTS = {b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive, such as a spreadsheet"}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Of MongoDB's extended JSON: what is a number, an id or a date in a wrapper of one key.
_WRAPPERS = {"$oid", "$uuid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"}


@dataclass(frozen=True)
class RawTable:
    """The wanted `columns` that the file has, all of one length, and the names of all its columns (`present`)."""

    columns: dict[str, pa.ChunkedArray]
    present: list[str]


def read_table(path: Path, wanted: Sequence[str], time: str) -> RawTable:
    """The columns `wanted` of a file, one of which is that of `time`; those that it lacks are left out.

    Raises `InputError` where the file is missing, empty, of an unknown format, not what its ending says, or where a
    row of it has too many or too few fields.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: no such file, it is a folder. Name one file; a partitioned data set becomes one with "
            "pandas.read_parquet(folder).to_parquet('events.parquet')."
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path; it is relative to the project's folder.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes).")
    read, decompress = _format(path)
    try:
        return read(_File(path, decompress), wanted, time)
    except InputError:
        raise
    # Parse errors are ValueErrors; pyarrow has a family of its own, which shares no narrower base.
    except (ValueError, OSError, EOFError, RecursionError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: cannot be read as its ending says ({type(error).__name__}: {cause}).") from error


@dataclass(frozen=True)
class _File:
    path: Path
    decompress: Callable[[bytes], bytes] | None

    def content(self) -> bytes:
        content = self.path.read_bytes()
        return self.decompress(content) if self.decompress else content

    def text(self) -> bytes:
        """The content as UTF-8 without byte order mark."""
        content = self.content()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content = content.decode("utf-16").encode()
        content = content.removeprefix(b"\xef\xbb\xbf")
        kind = next((kind for magic, kind in _CONTENTS.items() if content.startswith(magic)), None)
        if kind or b"\0" in content:
            what = f"the content is {kind}" if kind else f"line {_line(content, content.index(0))} has a NUL byte"
            raise InputError(
                f"{self.path}: the ending says that it is text, but {what}. Rename the file or convert it."
            )
        if not content.strip():
            raise InputError(f"{self.path}: the file is empty: it has nothing but line breaks.")
        return content


def _line(content: bytes, at: int) -> int:
    """Number of the line that a byte is in, from 1."""
    return _line_ends(content[:at]) + 1


def _line_ends(content: bytes) -> int:
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


def _require_utf8(path: Path, content: bytes) -> None:
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: line {_line(content, error.start)} is not UTF-8 (byte 0x{content[error.start]:02x}). Convert the "
            f"file: iconv -f latin1 -t utf-8 {path.name}, or whatever it is written in."
        ) from error


def _delimited(separator: str, quoting: bool) -> Callable[[_File, Sequence[str], str], RawTable]:
    def read(file: _File, wanted: Sequence[str], time: str) -> RawTable:
        from pyarrow import csv as arrow_csv

        content = file.text()
        _require_utf8(file.path, content)  # first: pyarrow drops a ragged row that it cannot decode
        header = _header(content, separator, quoting)
        names = _declared(file.path, wanted, header)
        _require_separator(file.path, wanted, header, separator)
        if not names:
            return RawTable({}, header)
        quoting_here = quoting and b'"' in content
        ragged: list[Any] = []

        def refuse(row: Any) -> str:
            ragged.append(row)
            return "error"

        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(content),
                read_options=arrow_csv.ReadOptions(block_size=min(len(content) + 1, _LONGEST_ROW)),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=separator,
                    quote_char='"' if quoting_here else False,
                    newlines_in_values=quoting_here,
                    invalid_row_handler=refuse,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=names,
                    null_values=[""],  # an id may well be "NA" or "null"
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid as error:
            if ragged:
                raise _ragged(file.path, content, ragged[0], separator, quoting_here) from error
            raise
        _compare_with_lines(file.path, content, table.num_rows + 1, header, separator, quoting_here, time)
        return RawTable({name: table[name] for name in names}, header)

    return read


def _header(content: bytes, separator: str, quoting: bool) -> list[str]:
    start = len(content) - len(content.lstrip(b"\r\n"))
    lines = io.StringIO(content[start : start + _LONGEST_ROW].decode(errors="replace"), newline="")
    if quoting:
        return next(csv.reader(lines, delimiter=separator))
    return next(csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE))


def _declared(path: Path, wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """The wanted names that are present, each of them once."""
    for name in wanted:
        if (times := list(present).count(name)) > 1:
            raise InputError(f"{path}: {times} columns are called {name!r}. Rename all but one of them.")
    return [name for name in wanted if name in present]


def _require_separator(path: Path, wanted: Sequence[str], header: list[str], separator: str) -> None:
    for other, name in _SEPARATORS.items():
        if len(header) == 1 and other != separator and set(wanted) <= set(header[0].split(other)):
            ending = ".csv" if other == "," else ".tsv" if other == "\t" else ""
            way_out = f"Rename it to {ending}" if ending else f"Write it with {_SEPARATORS[separator]}s"
            raise InputError(
                f"{path}: the columns are separated by a {name}, while the ending says {_SEPARATORS[separator]}. "
                f"{way_out}."
            )


def _ragged(path: Path, content: bytes, row: Any, separator: str, quoting: bool) -> InputError:
    text = row.text.encode()
    at = content.find(b"\n" + text)
    place = f"line {_line(content, at + 1)}" if at >= 0 else "a row"
    shown = " ".join(row.text.split(" "))[:80].replace("\n", "\\n")
    name = _SEPARATORS[separator]
    way_out = (
        f'put quotation marks around a value with a {name} in it, as in "Tyler, The Creator", and close every '
        "quotation mark that is opened"
        if separator == ","
        else f"a value cannot hold a {name} in this format"
    )
    hint = f" ({_CLOSED})" if quoting and "\n" in row.text else ""
    return InputError(
        f"{path}: {place} has {row.actual_columns} fields where the header has {row.expected_columns}{hint}: "
        f"{shown!r}. Correct the row: {way_out}."
    )


_CLOSED = "a quotation mark in it is not closed on its line"


def _compare_with_lines(
    path: Path, content: bytes, rows: int, header: list[str], separator: str, quoting: bool, time: str
) -> None:
    """Raises where rows, header included, are not the lines of the file, but for lines that a value may span."""
    lines = _line_ends(content) + (not content.endswith((b"\n", b"\r")))
    if lines != rows:
        lines -= sum(not line.strip() for line in io.BytesIO(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")))
    if lines == rows:
        return
    if not quoting:
        raise InputError(f"{path}: {rows:,} rows were read from {lines:,} lines. Write one event a line.")
    _check_quotes(path, content.decode(), header, separator, time)


def _check_quotes(path: Path, text: str, header: list[str], separator: str, time: str) -> None:
    """Raises where quotation marks are not RFC 4180's, or where lines between them look like rows of the table.

    A stray mark opens a value that ends at the next one, however many events lie between the two.
    """
    at = header.index(time) if time in header else 0
    record: list[str] = []

    def remembered() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            record.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=separator, strict=True)
    try:
        for _ in reader:
            first = reader.line_num - len(record) + 1
            for number, line in enumerate(record[1:], first + 1):
                fields = line.rstrip("\r\n").split(separator)
                whole = number < reader.line_num or line.rstrip("\r\n").endswith('"')
                if whole and len(fields) == len(header) and sum(c.isdigit() for c in fields[at]) >= _TIME_DIGITS:
                    raise InputError(
                        f"{path}: line {number} lies between quotation marks that open in line {first}, but looks like "
                        f"a row: {line[:80]!r}. Remove the stray quotation mark, or double it inside of a quoted value."
                    )
            record.clear()
    except csv.Error as error:
        raise InputError(
            f"{path}: the quotation marks in line {reader.line_num - len(record) + 1} or after it cannot be right "
            f"({error}). Remove the stray one, or double it inside of a quoted value."
        ) from error


def _json(file: _File, wanted: Sequence[str], time: str) -> RawTable:  # noqa: ARG001
    content = file.text()
    _require_utf8(file.path, content)
    batches = [_array(file.path, content)] if content.lstrip()[:1] == b"[" else _objects(file.path, content)
    present: dict[str, None] = {}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    row = 1
    for batch in batches:
        for keys in dict.fromkeys(map(tuple, batch)):
            present |= dict.fromkeys(keys)
        for name in wanted:
            values = [entry.get(name) for entry in batch]
            chunks[name].append(pa.array(_scalars(file.path, name, values, row), pa.string()))
        row += len(batch)
    names = _declared(file.path, wanted, list(present))
    return RawTable({name: pa.chunked_array(chunks[name], pa.string()) for name in names}, list(present))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


# Numbers stay as they are written: a float would round ids and times. NaN and Infinity become floats, unlike them.
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
        pass  # which line it is, is found out below
    for number, line in lines:
        try:
            value = _DECODER.decode(line)
        except ValueError as error:
            raise InputError(
                f"{path}: line {number} is no JSON object ({error}). Write one object a line, or one array of objects."
            ) from error
        if not isinstance(value, dict):
            raise InputError(f"{path}: line {number} is no JSON object but {_short(value)}.")
    raise InputError(f"{path}: lines {lines[0][0]} to {lines[-1][0]} are not one JSON object each.")


def _array(path: Path, content: bytes) -> list[dict[str, Any]]:
    try:
        rows = _DECODER.decode(content.decode())
    except ValueError as error:
        raise InputError(f"{path}: begins like a JSON array and is none ({error}).") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: entry {number} of the JSON array is no object but {_short(row)}.")
    return rows


def _scalars(path: Path, name: str, values: list[Any], first: int) -> list[str | None]:
    """Text and numbers as text; wrappers of extended JSON are opened. Raises for whatever else a value may be."""
    if set(map(type, values)) <= {str, type(None)}:
        return values
    opened = [_opened(value) if isinstance(value, dict) else value for value in values]
    for row, value in enumerate(opened, first):
        if not isinstance(value, str | None):
            raise InputError(
                f"{path}: column {name!r}, row {row}: {_short(value)} is neither text nor a number. Name the column "
                "that holds plain values, or correct the row."
            )
    return opened


def _opened(value: dict[str, Any]) -> Any:
    if len(value) == 1 and (key := next(iter(value))) in _WRAPPERS:
        inner = value[key]
        return _opened(inner) if isinstance(inner, dict) else inner
    return value


def _short(value: object) -> str:
    text = json.dumps(value) if isinstance(value, dict | list | bool | None) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _parquet(file: _File, wanted: Sequence[str], time: str) -> RawTable:  # noqa: ARG001
    import pyarrow.parquet as pq

    source = pa.BufferReader(file.content()) if file.decompress else str(file.path)
    with pq.ParquetFile(source, memory_map=not file.decompress) as table:
        # An index of pandas is a column like any other here.
        present = list(table.schema_arrow.names)
        names = _declared(file.path, wanted, present)
        found = table.read(columns=names)
    return RawTable({name: found[name] for name in names}, present)


def _zstd(content: bytes) -> bytes:
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


_READERS: dict[str, Callable[[_File, Sequence[str], str], RawTable]] = {
    ".csv": _delimited(",", quoting=True),
    # Neither has a rule for quotation marks: they are characters like any other.
    ".tsv": _delimited("\t", quoting=False),
    ".inter": _delimited("\t", quoting=False),
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".parquet": _parquet,
}
_COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": _zstd
}  # fmt: skip


def _format(path: Path) -> tuple[Callable[[_File, Sequence[str], str], RawTable], Callable[[bytes], bytes] | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    decompress = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if decompress:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _READERS:
        raise InputError(
            f"{path}: the format is taken from the file's ending, and '{''.join(path.suffixes)}' is none of "
            f"{', '.join(_READERS)} (also with {', '.join(_COMPRESSIONS)}). Rename the file or convert it."
        )
    return _READERS[suffixes[-1]], decompress
