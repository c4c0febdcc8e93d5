"""Text with a separator (CSV, TSV, `.inter`) as raw columns of text, without losing a row or a field."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pinet_kedro.errors import InputError
from pinet_kedro.reading.raw_file import RawFile, RawTable, line_ends, line_of

_LONGEST_ROW = 2**26  # bytes
_TIME_DIGITS = 6  # every clock reading and every date has at least so many
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_ENDINGS = {",": ".csv", "\t": ".tsv"}


def comma_separated(file: RawFile) -> RawTable:
    """The requested columns of a CSV file; quotation marks follow RFC 4180."""
    return _read(file, ",", quoting=True)


def tab_separated(file: RawFile) -> RawTable:
    """The requested columns of a TSV file; quotation marks are ordinary characters, since TSV has no rule for them."""
    return _read(file, "\t", quoting=False)


@dataclass(frozen=True)
class _Text:
    """The content of a file and how its fields are separated. `quoting`: quotation marks occur and have a meaning.

    `header`: the names of the columns without blanks around them, as in "user_id, item_id"; `written`: with them.
    """

    file: RawFile
    content: bytes
    separator: str
    quoting: bool
    header: list[str]
    written: list[str]


def _read(file: RawFile, separator: str, quoting: bool) -> RawTable:
    content = file.text()  # checked as UTF-8: pyarrow drops a ragged row that it cannot decode
    written = _header(content, separator, quoting)
    header = [name if name in file.wanted or name.strip() in written else name.strip() for name in written]
    names = file.requested(header)
    text = _Text(file, content, separator, quoting and b'"' in content, header, written)
    _require_separator(text)
    if not names:
        return RawTable({}, header)
    table = _parsed(text, names)
    _compare_with_lines(text, table.num_rows + 1)
    return RawTable(dict(zip(names, table.columns, strict=True)), header)


def _header(content: bytes, separator: str, quoting: bool) -> list[str]:
    start = len(content) - len(content.lstrip(b"\r\n"))
    lines = io.StringIO(content[start : start + _LONGEST_ROW].decode(errors="replace"), newline="")
    if quoting:
        return next(csv.reader(lines, delimiter=separator))
    return next(csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE))


def _require_separator(text: _Text) -> None:
    if len(text.header) > 1:
        return
    for other, name in _SEPARATORS.items():
        if other != text.separator and set(text.file.wanted) <= set(text.header[0].split(other)):
            expected = _SEPARATORS[text.separator]
            way_out = f"Rename it to {_ENDINGS[other]}" if other in _ENDINGS else f"Write it with {expected}s"
            raise InputError(
                f"{text.file.path}: a {name} separates the columns, but the ending means a {expected}. {way_out}."
            )


def _parsed(text: _Text, names: list[str]) -> pa.Table:
    from pyarrow import csv as arrow_csv

    ragged: list[Any] = []
    columns = [text.written[text.header.index(name)] for name in names]

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            pa.BufferReader(text.content),
            read_options=arrow_csv.ReadOptions(block_size=min(len(text.content) + 1, _LONGEST_ROW)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=text.separator,
                quote_char='"' if text.quoting else False,
                newlines_in_values=text.quoting,
                invalid_row_handler=refuse,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=columns,
                null_values=[""],  # an id may well be "NA" or "null"
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if ragged:
            raise _ragged(text, ragged[0]) from error
        raise


def _ragged(text: _Text, row: Any) -> InputError:
    excerpt = " ".join(row.text.split(" "))[:80].replace("\n", "\\n")
    name = _SEPARATORS[text.separator]
    unclosed = text.quoting and "\n" in row.text
    if row.actual_columns < row.expected_columns and not unclosed:
        way_out = f"it may be cut off, or a {name} is missing"
    elif text.separator == ",":
        way_out = (
            f'put quotation marks around a value that contains a {name}, as in "Tyler, The Creator", and close every '
            "quotation mark"
        )
    else:
        way_out = f"a value cannot contain a {name} in this format"
    hint = " (a quotation mark in it is not closed on its line)" if unclosed else ""
    return InputError(
        f"{text.file.path}: {_place(text.content, row.text.encode())} has {row.actual_columns} fields where the header "
        f"has {row.expected_columns}{hint}: {excerpt!r}. Correct the row: {way_out}."
    )


def _place(content: bytes, row: bytes) -> str:
    """The line with which a row begins, in words; another row may begin with the same text."""
    ends, at = (b"", b"\n", b"\r"), content.find(row)
    while at >= 0:
        if content[at - 1 : at] in ends and content[at + len(row) : at + len(row) + 1] in ends:
            return f"line {line_of(content, at)}"
        at = content.find(row, at + 1)
    return "a row"


def _compare_with_lines(text: _Text, rows: int) -> None:
    """Raises `InputError` if the rows, header included, differ from the lines of the file (quoted ones aside)."""
    content = text.content
    lines = line_ends(content) + (not content.endswith((b"\n", b"\r")))
    if lines != rows:
        # A line of separators alone is a row.
        lines -= sum(line == b"\n" for line in io.BytesIO(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")))
    if lines == rows:
        return
    if not text.quoting:
        raise InputError(f"{text.file.path}: {lines:,} lines gave {rows:,} rows. Write one event per line.")
    _check_quotes(text)


def _check_quotes(text: _Text) -> None:
    """Raises `InputError` if quotation marks break RFC 4180, or if lines between two of them look like rows.

    A stray mark opens a value that ends at the next mark, and all events between the two would be lost.
    """
    path, header = text.file.path, text.header
    at = header.index(text.file.time) if text.file.time in header else 0
    record: list[str] = []

    def remembered() -> Iterator[str]:
        for line in io.StringIO(text.content.decode(), newline=""):
            record.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=text.separator, strict=True)
    try:
        for _ in reader:
            first = reader.line_num - len(record) + 1
            for number, line in enumerate(record[1:], first + 1):
                fields = line.rstrip("\r\n").split(text.separator)
                whole = number < reader.line_num or line.rstrip("\r\n").endswith('"')
                if whole and len(fields) == len(header) and sum(c.isdigit() for c in fields[at]) >= _TIME_DIGITS:
                    raise InputError(
                        f"{path}: line {number} lies between quotation marks that open in line {first}, but looks like "
                        f"a row: {line[:80]!r}. Remove the stray quotation mark, or double it inside a quoted value."
                    )
            record.clear()
    except csv.Error as error:
        raise InputError(
            f"{path}: a quotation mark in line {reader.line_num - len(record) + 1} or after it is out of place "
            f"({error}). Remove it, or double it inside a quoted value."
        ) from error
