"""The files of a raw log: one, all of a folder, or all that match a pattern."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from pinet_kedro.errors import InputError

_PATTERN = set("*?[")
_NO_DATA = (".part", ".tmp", ".crc")  # endings of files that are still written, or that check others


def files_of(source: Path) -> list[Path]:
    """The file itself, or those of the folder or pattern in the order of their paths; `InputError` if it has none."""
    if not source.is_dir() and not _is_pattern(source):
        return [source]
    files = _found(source)
    if not files:
        what = "the folder has no files" if source.is_dir() else "no file matches the pattern"
        raise InputError(f"{source}: {what} of interactions. Check the path; a relative one begins in the project.")
    return files


def is_there(source: Path) -> bool:
    """Whether the file or folder exists, or a file matches the pattern."""
    return bool(_found(source)) if _is_pattern(source) else source.exists()


def folder_of(source: Path) -> Path:
    """The folder itself, or the folder in which a pattern begins."""
    if source.is_dir():
        return source
    return Path(*source.parts[: next(i for i, part in enumerate(source.parts) if _PATTERN & set(part))])


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, in no order, those behind links to folders too: each folder once, first by its name."""
    waiting, known = [folder], set[str]()
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0)):
            real = os.path.realpath(place)
            if real in known:
                folders.clear()
                continue
            known.add(real)
            waiting += [path for name in sorted(folders) if (path := Path(place, name)).is_symlink()]
            yield from (path for name in names if (path := Path(place, name)).is_file())


def _is_pattern(source: Path) -> bool:
    return bool(_PATTERN & set(str(source))) and not source.exists()


def _found(source: Path) -> list[Path]:
    top = folder_of(source)
    found = files_below(top) if source.is_dir() else filter(Path.is_file, top.glob(str(source.relative_to(top))))
    return sorted(path for path in found if is_data(path.relative_to(top)))


def is_data(path: PurePath) -> bool:
    """Whether a path below the folder or pattern is that of data: no name in it begins with '.' or '_'."""
    return not any(part.startswith((".", "_")) for part in path.parts) and path.suffix not in _NO_DATA
