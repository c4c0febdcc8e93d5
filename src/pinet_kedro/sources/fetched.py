"""Files behind an address: copied into a folder of the project before they are read."""

import hashlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.files import is_data
from pinet_kedro.printable import public
from pinet_kedro.progress import show_progress
from pinet_kedro.project import project_folder, short_path
from pinet_kedro.sources.raw_files import RawFiles, identity_of
from pinet_kedro.sources.stores import Found, Store, open_store

if TYPE_CHECKING:
    from pinet_kedro.interactions.events import Origin  # with pandas, half a second

log = logging.getLogger(__name__)

_COPIES = Path("data/01_raw/fetched")
_INDEX, _PARTS = ".fetched.jsonl", ".parts"  # in the folder of the copies; such names are no data
_FETCHING = threading.Lock()  # a runner with threads


class UnreachableError(InputError):
    """The store behind an address does not answer, or refuses."""


def raw_files(name: str) -> RawFiles:
    """The files of this name: a path, a pattern, or an address. Raises `InputError` for an address that cannot be."""
    return FetchedFiles(name) if "://" in name else RawFiles(Path(name).expanduser())


class Listing(NamedTuple):
    """The files of an address by their paths below `top`; `single`: it is one file, not a folder or a pattern."""

    top: str
    files: dict[str, Found]
    single: bool


class FetchedFiles(RawFiles):
    """A file behind an address, or all of a folder or a pattern, copied into a folder of the project.

    A file is fetched again when the store says that it is another one, and a copy goes when its file has gone. A
    dataset lists the files once a run. Every copy is whole: it is put in place after its last byte.
    """

    given = None

    def __init__(self, address: str) -> None:
        protocol, _, rest = address.partition("://")
        if "::" in address or (protocol.startswith("s3") and "@" in rest.partition("/")[0]):
            raise InputError(
                f"{public(address)} cannot be read: give one plain address, without '::', and the credentials of S3 by "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        self._address = address
        # Readable, and another one for every address. A password makes no difference: a hash could give it away.
        name = re.sub(r"[^\w.-]+", "_", self.shown.partition("://")[2].partition("?")[0])[-60:].strip("._-")
        self._folder = project_folder() / _COPIES / f"{name}-{hashlib.sha256(self.shown.encode()).hexdigest()[:16]}"

    @property
    def shown(self) -> str:
        return public(self._address)

    @cached_property
    def _listing(self) -> Listing:
        with self._sentence("read", "Check the address, the network and the credentials"):
            return list_files(*open_store(self._address))

    def are_there(self) -> bool:
        return bool(self._listing.files)

    def stamp(self) -> dict[str, int]:
        """Size, number and identity of the files as the store gives them, never equal where it has no identities.

        `mtime_ns` is 0: the identity takes its place.
        """
        files = sorted(self._listing.files.items())
        known = all(found.identity is not None for _, found in files)
        listed = [[name, found.size, found.identity] for name, found in files] if known else os.urandom(16).hex()
        size = sum(found.size or 0 for _, found in files)
        return {"size": size, "mtime_ns": 0, "files": len(files), "identity": identity_of(listed)}

    def path(self) -> Path:
        with _FETCHING:
            return self._fetched

    @cached_property
    def _fetched(self) -> Path:
        listing = self._listing
        if not listing.files:
            raise InputError(f"{self.shown}: no file of interactions or items is there. Check the address.")
        with self._sentence("fetched", "Run again: files that have arrived are kept"):
            self._fetch(listing)
        return self._folder / next(iter(listing.files)) if listing.single else self._folder

    def _fetch(self, listing: Listing) -> None:
        folder, index = self._folder, self._folder / _INDEX
        known = _read(index)
        for path in list(folder.rglob("*")):
            if path.is_file() and path != index and path.relative_to(folder).as_posix() not in listing.files:
                path.unlink()
        due = [name for name, found in listing.files.items() if not _is_copy(folder / name, found, known.get(name))]
        if not due:
            return
        log.info("Fetching %s of %s files of %s to %s", len(due), len(listing.files), self.shown, short_path(folder))
        store, address = open_store(self._address)
        (folder / _PARTS).mkdir(parents=True, exist_ok=True)
        total = sum(listing.files[name].size or 0 for name in due) or None
        try:
            with (
                show_progress("Fetching", total, "B") as done,
                index.open("a", encoding="utf-8") as lines,
            ):
                for name in due:
                    part = folder / _PARTS / "file"
                    store.fetch(listing.files[name], part, done)
                    entry = self._put_in_place(part, name, listing.files[name])
                    print(json.dumps([name, *entry]), file=lines, flush=True)
        finally:
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
        now = list_files(store, address).files
        if changed := [name for name in due if name not in now or now[name][1:] != listing.files[name][1:]]:
            raise InputError(f"{self.shown}: {changed[0]!r} was changed or removed while it was fetched. Run again.")

    def _put_in_place(self, part: Path, name: str, found: Found) -> list[Any]:
        """Moves the fetched file to its place; returns its entry in the index."""
        stat = part.stat()
        if found.size is not None and stat.st_size != found.size:
            raise InputError(f"{self.shown}: {stat.st_size} of {found.size} bytes of {name!r} have arrived. Run again.")
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, place)
        return [found.identity, stat.st_size, stat.st_mtime_ns]

    @contextmanager
    def _sentence(self, what: str, way_out: str) -> Iterator[None]:
        """Whatever a store raises, each its own errors, as one sentence without credentials."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnreachableError(
                f"{self.shown} cannot be {what}: {self._without_secrets(cause)}. {way_out}."
            ) from error

    def _without_secrets(self, text: str) -> str:
        """The text without what `shown` does not show of the address."""
        text = public(text)
        for part in re.split(r"[/:?&=@]", self._address):
            if part and part not in self.shown:
                text = text.replace(part, "…").replace(unquote(part), "…")
        return text[:300].rstrip(". ")

    @contextmanager
    def reading(self) -> Iterator[Path]:
        path = self.path()
        try:
            yield path
        except InputError as error:
            raise InputError(self._as_addresses(str(error))) from error

    def origin(self, origin: "Origin") -> "Origin":
        parts = tuple((self._as_addresses(file), rows) for file, rows in origin.parts)
        return replace(origin, file=self._as_addresses(origin.file), parts=parts)

    def _as_addresses(self, text: str) -> str:
        if self._listing.single:
            return text.replace(str(self.path()), self.shown)
        top = f"{self._address.partition('://')[0]}://{self._listing.top}/"
        return text.replace(f"{self._folder}/", public(top)).replace(str(self._folder), self.shown)


def list_files(store: Store, path: str) -> Listing:
    """The files at a path of a store, by the rules for files of this machine (`interactions.files`).

    Raises `InputError` for names that cannot be those of files below a folder.
    """
    from fsspec.utils import glob_translate

    if found := store.one(path):
        top, _, name = (path.partition("?")[0] if "://" in path else path).rpartition("/")  # without the query of HTTP
        return Listing(top, _safe({name: found}), single=True)
    start = re.split(r"[*?[]", path, maxsplit=1)[0]
    matches = None if start == path else re.compile(glob_translate(path)).match
    start = start if matches else path.rstrip("/") + "/"
    top = start.rpartition("/")[0]
    below = {f.path.removeprefix(f"{top}/"): f for f in store.under(start) if f.path.startswith(f"{top}/")}
    chosen = {name: f for name, f in below.items() if matches is None or matches(f.path)}
    files = {name: f for name, f in chosen.items() if is_data(PurePosixPath(name)) or ".." in name.split("/")}
    return Listing(top, _safe(files), single=False)


def _safe(files: dict[str, Found]) -> dict[str, Found]:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name in ("", ".") or path.as_posix() != name:
            raise InputError(f"{name!r} is a name that cannot be copied into a folder: rename the file.")
    folders = {folder.as_posix() for name in files for folder in PurePosixPath(name).parents}
    if both := sorted(folders & files.keys()):
        raise InputError(f"{both[0]!r} is a file and a folder of files: read one of them, by a pattern.")
    return files


def _read(index: Path) -> dict[str, list[Any]]:
    """What is known of each copy; of what is said twice, the latter. A line that is not whole says nothing."""
    found = {}
    for line in index.read_text(encoding="utf-8", errors="replace").splitlines() if index.is_file() else ():
        with suppress(ValueError, TypeError):
            name, *entry = json.loads(line)
            found[name] = entry
    return found


def _is_copy(path: Path, found: Found, known: list[Any] | None) -> bool:
    """Whether this is the copy of this very file, and nobody has touched it since."""
    if found.identity is None or not path.is_file():
        return False
    stat = path.stat()
    return known == [found.identity, stat.st_size, stat.st_mtime_ns]
