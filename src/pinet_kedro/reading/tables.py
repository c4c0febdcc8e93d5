"""Files of interactions and of items as raw columns, in the format that their ending names: all rows, or a refusal.

Text formats (CSV, TSV, `.inter`, `.item`, JSON) keep every value as text, exactly as it is written; Parquet keeps its
types. `interactions/ids.py` and `times.py` decide what an id and a time mean.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pinet_kedro.errors import InputError
from pinet_kedro.reading.delimited import comma_separated, tab_separated
from pinet_kedro.reading.json_rows import json_rows
from pinet_kedro.reading.raw_file import RawFile, RawTable


def read_table(path: Path, wanted: Sequence[str], time: str | None = None, lists: Sequence[str] = ()) -> RawTable:
    """The whole of `read_blocks`, in one."""
    return next(read_blocks(path, wanted, time, lists))


def read_blocks(
    path: Path, wanted: Sequence[str], time: str | None = None, lists: Sequence[str] = (), rows: int | None = None
) -> Iterator[RawTable]:
    """Blocks of `rows` rows of a Parquet file, at least one; any other file, or with None any file, is one block.

    Of each, the columns `wanted` of a file, without those that it lacks; `time` names the one that holds the times,
    `lists` those that may hold lists of texts in JSON.

    Raises `InputError` if the file is missing, empty, of an unknown format or damaged, if its content is not what its
    ending names, and if one of its rows has too many or too few fields.
    """
    if path.is_dir():
        raise InputError(f"{path}: no such file, it is a folder. Name one file.")
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path; a relative one begins in the project.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes).")
    read, decompress = _format(path)
    file = RawFile(path, decompress, wanted, time, lists)
    try:
        if rows and read is _parquet and not decompress:
            yield from _parquet_blocks(file, rows)
        else:
            yield read(file)
    except InputError:
        raise
    # Parse errors are ValueErrors; pyarrow's own errors share no narrower base.
    except (ValueError, OSError, EOFError, RecursionError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: cannot be read as its ending says ({type(error).__name__}: {cause}).") from error


def _parquet(file: RawFile) -> RawTable:
    import pyarrow.parquet as pq  # 0.1 s

    source = pa.BufferReader(file.content()) if file.decompress else str(file.path)
    with pq.ParquetFile(source, memory_map=not file.decompress) as table:
        # The index of a pandas frame counts as a column.
        present = list(table.schema_arrow.names)
        names = file.requested(present)
        found = table.read(columns=names)
    return RawTable({name: found[name] for name in names}, present)


def _parquet_blocks(file: RawFile, rows: int) -> Iterator[RawTable]:
    import pyarrow.parquet as pq  # 0.1 s

    with pq.ParquetFile(str(file.path)) as table:
        schema = table.schema_arrow
        names = file.requested(list(schema.names))
        empty = pa.schema([schema.field(name) for name in names]).empty_table()
        batches = table.iter_batches(rows, columns=names) if table.metadata.num_rows and names else [empty]
        for batch in batches:
            columns = [batch[name] for name in names]
            chunked = [
                column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]) for column in columns
            ]
            yield RawTable(dict(zip(names, chunked, strict=True)), list(schema.names))


def _zstd(content: bytes) -> bytes:
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


_READERS: dict[str, Callable[[RawFile], RawTable]] = {
    ".csv": comma_separated,
    ".tsv": tab_separated,
    ".inter": tab_separated,
    ".item": tab_separated,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".parquet": _parquet,
}
_COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, ".zst": _zstd
}  # fmt: skip


def _format(path: Path) -> tuple[Callable[[RawFile], RawTable], Callable[[bytes], bytes] | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    decompress = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if decompress:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _READERS:
        raise InputError(
            f"{path}: the file's ending names the format, and '{''.join(path.suffixes)}' is none of "
            f"{', '.join(_READERS)} (also with {', '.join(_COMPRESSIONS)}). Rename the file or convert it."
        )
    return _READERS[suffixes[-1]], decompress
