"""The files of a raw source, as datasets and manifests see them."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinet_kedro.interactions.files import files_of, folder_of, is_there
from pinet_kedro.project import short_path

if TYPE_CHECKING:
    from pinet_kedro.interactions.events import Origin  # with pandas, half a second


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity_of(listed: Any) -> int:
    """A number for what is listed, as JSON, of files: another one if anything of that is another."""
    return int(hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:15], 16)


class RawFiles:
    """A file of this machine, or all of a folder or a pattern."""

    given: Path | None  # None: they are elsewhere

    def __init__(self, path: Path) -> None:
        self.given = path

    @property
    def shown(self) -> str:
        """The name in messages and manifests."""
        assert self.given is not None
        return short_path(self.given)

    def path(self) -> Path:
        """The file, folder or pattern on this machine."""
        assert self.given is not None
        return self.given

    def are_there(self) -> bool:
        """Whether there is any file."""
        return is_there(self.path())

    def content(self) -> str:
        """sha256 of the file; of several, of their names and their sha256."""
        source = self.path()
        files = files_of(source)
        if files == [source]:
            return file_hash(source)
        top = folder_of(source)
        return hashlib.sha256(
            json.dumps([[p.relative_to(top).as_posix(), file_hash(p)] for p in files]).encode()
        ).hexdigest()

    def stamp(self) -> dict[str, int]:
        """Size, modification time and time of the last change of any kind, which show without reading a file that it
        has not changed: tools that copy or unpack set the modification time, but none can set the other one.

        Of several, their sum and the newest, their number, and an identity: another one if any file has another name,
        size or modification time.
        """
        source = self.path()
        files = files_of(source)
        found = [path.stat() for path in files]
        times = {
            "size": sum(stat.st_size for stat in found),
            "mtime_ns": max(stat.st_mtime_ns for stat in found),
            "ctime_ns": max(stat.st_ctime_ns for stat in found),
        }
        if files == [source]:
            return times
        top = folder_of(source)
        listed = [
            [path.relative_to(top).as_posix(), stat.st_size, stat.st_mtime_ns]
            for path, stat in zip(files, found, strict=True)
        ]
        return {**times, "files": len(files), "identity": identity_of(listed)}

    def stamped(self, known: dict[str, Any] | None) -> dict[str, Any]:
        """The stamp and `sha256`; files are read only where the stamp differs from the known one."""
        found = self.stamp()
        return known if known and found.items() <= known.items() else {**found, "sha256": self.content()}

    @contextmanager
    def reading(self) -> Iterator[Path]:
        """`path`; errors inside the block name the files as the user does."""
        yield self.path()

    def origin(self, origin: "Origin") -> "Origin":
        """The origin, with files named as the user does."""
        return origin
