"""The files of a raw log: one, all of a folder, or all that match a pattern."""

from pathlib import Path, PurePath

from pinet_kedro.errors import InputError

_PATTERN = set("*?[")


def files_of(source: Path) -> list[Path]:
    """The file itself, or those of the folder or pattern in the order of their paths.

    Names that begin with '.' or '_' or end with '.part' or '.crc' are no data. Raises `InputError` if a folder or a
    pattern has no files.
    """
    if not source.is_dir() and not _is_pattern(source):
        return [source]
    files = _found(source)
    if not files:
        what = "the folder has no files" if source.is_dir() else "no file matches the pattern"
        raise InputError(f"{source}: {what} of interactions. Check the path; it is relative to the project's folder.")
    return files


def is_there(source: Path) -> bool:
    """Whether the file or folder exists, or a file matches the pattern."""
    return bool(_found(source)) if _is_pattern(source) else source.exists()


def folder_of(source: Path) -> Path:
    """The folder itself, or the folder in which a pattern begins."""
    if source.is_dir():
        return source
    return Path(*source.parts[: next(i for i, part in enumerate(source.parts) if _PATTERN & set(part))])


def _is_pattern(source: Path) -> bool:
    return bool(_PATTERN & set(str(source))) and not source.exists()


def _found(source: Path) -> list[Path]:
    top = folder_of(source)
    found = top.rglob("*") if source.is_dir() else top.glob(str(source.relative_to(top)))
    return sorted(path for path in found if path.is_file() and is_data(path.relative_to(top)))


def is_data(path: PurePath) -> bool:
    """Whether the path, below the folder or pattern, is that of data."""
    return not any(part.startswith((".", "_")) for part in path.parts) and path.suffix not in (".part", ".crc")
