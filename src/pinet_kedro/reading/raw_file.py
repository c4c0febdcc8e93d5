"""What the readers of all formats share: the content of a file and its lines, and the columns to read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pinet_kedro.errors import InputError

_CONTENTS = {b"PAR1": "Parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive, such as a spreadsheet"}


@dataclass(frozen=True)
class RawTable:
    """The requested `columns` that the file has, all of one length, and the names of all its columns (`present`)."""

    columns: dict[str, pa.ChunkedArray]
    present: list[str]


@dataclass(frozen=True)
class RawFile:
    """A file, how to decompress it, and the columns to read, of which one holds the times and some may hold lists."""

    path: Path
    decompress: Callable[[bytes], bytes] | None
    wanted: Sequence[str]
    time: str | None
    lists: Sequence[str] = ()

    def content(self) -> bytes:
        """The decompressed content."""
        content = self.path.read_bytes()
        return self.decompress(content) if self.decompress else content

    def text(self) -> bytes:
        """The content as UTF-8 without a byte order mark. Raises `InputError` if it is empty or no UTF-8 or UTF-16."""
        content = self.content()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            content = content.decode("utf-16").encode()
        content = content.removeprefix(b"\xef\xbb\xbf")
        kind = next((kind for magic, kind in _CONTENTS.items() if content.startswith(magic)), None)
        if kind or b"\0" in content:
            what = f"the content is {kind}" if kind else f"line {line_of(content, content.index(0))} has a NUL byte"
            raise InputError(f"{self.path}: the ending means text, but {what}. Rename the file or convert it.")
        if not content.strip():
            raise InputError(f"{self.path}: the file is empty: it contains only line breaks.")
        self._require_utf8(content)
        return content

    def requested(self, present: Sequence[str]) -> list[str]:
        """The requested columns that are present. Raises `InputError` if two columns have the same name."""
        for name in self.wanted:
            if (times := list(present).count(name)) > 1:
                raise InputError(f"{self.path}: {times} columns are called {name!r}. Rename all but one of them.")
        return [name for name in self.wanted if name in present]

    def _require_utf8(self, content: bytes) -> None:
        if content.isascii():
            return
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}: line {line_of(content, error.start)} is not UTF-8 (byte 0x{content[error.start]:02x}). "
                f"Convert the file, for example from Latin-1: iconv -f latin1 -t utf-8 {self.path.name}."
            ) from error


def line_of(content: bytes, at: int) -> int:
    """Number of the line that contains byte `at`, from 1."""
    return line_ends(content[:at]) + 1


def line_ends(content: bytes) -> int:
    """Number of line ends: \\n, \\r\\n or \\r."""
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")
