"""Download of MovieLens-100k, interactions and items, from the first source that has it, with a check by sha256."""

import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pinet_kedro.datasets.whole_file import whole_file
from pinet_kedro.errors import InputError
from pinet_kedro.progress import show_progress

log = logging.getLogger(__name__)

_HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
_WHEEL = "recbole==1.2.1"
_THROUGH_PIP = f"the copy inside the Python package {_WHEEL}, through pip"
_TIMEOUT = 20  # seconds without a byte


@dataclass(frozen=True)
class Download:
    """A file that is fetched when it is missing: its name in messages, its sha256, its sources in order, and what to do
    if none of them has it."""

    name: str
    sha256: str
    sources: dict[str, Callable[[], bytes]]
    way_out: str

    def check(self, path: Path) -> None:
        """Raises `InputError` unless the file is the complete one."""
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise InputError(
                f"{path}: this is not the complete {self.name} table (sha256 {found[:12]}…, expected "
                f"{self.sha256[:12]}…). Delete the file and run again to download it."
            )

    def fetch(self, path: Path) -> None:
        """Writes the checked file to `path`, completely or not at all. Raises `InputError` if no source has it."""
        failures = []
        for name, download in self.sources.items():
            log.info("Fetching %s from %s", self.name, name)
            try:
                data = download()
            except (OSError, ValueError, KeyError, zipfile.BadZipFile, StopIteration) as error:
                failures.append(f"{name}: {error}")
                log.info("This source failed: %s", error)
                continue
            found = hashlib.sha256(data).hexdigest()
            if found != self.sha256:
                failures.append(f"{name}: {len(data)} bytes with sha256 {found[:12]}…, expected {self.sha256[:12]}…")
                continue
            try:
                with whole_file(path) as part:
                    part.write_bytes(data)
            except OSError as error:
                raise InputError(f"{path}: the downloaded data cannot be written ({error}).") from error
            log.info("%s is in %s", self.name, path)
            return
        tried = "\n".join(f"  - {failure}" for failure in failures)
        raise InputError(f"{self.name} is not at {path} and could not be fetched. Tried:\n{tried}\n{self.way_out}")


def _from_grouplens() -> bytes:
    with urllib.request.urlopen(_GROUPLENS, timeout=_TIMEOUT) as response:
        size = int(response.headers.get("Content-Length") or 0) or None
        archive = io.BytesIO()
        with show_progress("MovieLens-100k from GroupLens", size, "B") as done:
            while block := response.read(2**16):
                archive.write(block)
                done(len(block))
    return _HEADER + zipfile.ZipFile(archive).read("ml-100k/u.data")


def _from_wheel(file: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", folder]
        # pip draws its own progress bar, on standard output when that is a terminal.
        done = subprocess.run([*command, _WHEEL], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = next((s for s in done.stderr.splitlines() if s.startswith("ERROR")), "no reason given")
            raise OSError(f"pip could not download {_WHEEL} ({reason})")
        wheel = next(Path(folder).glob("*.whl"))
        return zipfile.ZipFile(wheel).read(f"recbole/dataset_example/ml-100k/{file}")


# RecBole's format: a header line, then GroupLens' `u.data`, byte for byte.
MOVIELENS_100K = Download(
    "MovieLens-100k",
    "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    {_GROUPLENS: _from_grouplens, _THROUGH_PIP: lambda: _from_wheel("ml-100k.inter")},
    "Put the table there by hand (ml-100k.inter of RecBole, or u.data of GroupLens under the header line "
    "'user_id:token<TAB>item_id:token<TAB>rating:float<TAB>timestamp:float'), use your own data with --env=csv, "
    "or run without any network: kedro run --pipeline=full --env=synthetic",
)
# RecBole's edition of `u.item`: years in a column of their own, genres as words, UTF-8. GroupLens has no such file.
MOVIELENS_100K_ITEMS = Download(
    "MovieLens-100k's table of items",
    "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    {_THROUGH_PIP: lambda: _from_wheel("ml-100k.item")},
    "Put ml-100k.item of RecBole there by hand to see titles.",
)
