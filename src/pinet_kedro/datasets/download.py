"""Download of MovieLens-100k from the first source that has it, with a check of its content."""

import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from pinet_kedro.datasets.whole_file import whole_file
from pinet_kedro.errors import InputError

log = logging.getLogger(__name__)

# The table in RecBole's format: a header line, then GroupLens' `u.data`, byte for byte.
SHA256 = "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
_HEADER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
_WHEEL = "recbole==1.2.1"
_TIMEOUT = 20  # seconds without a byte


def _from_grouplens() -> bytes:
    from tqdm import tqdm

    with urllib.request.urlopen(_GROUPLENS, timeout=_TIMEOUT) as response:
        size = int(response.headers.get("Content-Length") or 0) or None
        archive = io.BytesIO()
        with tqdm(total=size, desc="MovieLens-100k from GroupLens", unit="B", unit_scale=True) as bar:
            while block := response.read(2**16):
                archive.write(block)
                bar.update(len(block))
    return _HEADER + zipfile.ZipFile(archive).read("ml-100k/u.data")


def _from_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", folder]
        # pip draws its own progress bar, on standard output when that is a terminal.
        done = subprocess.run([*command, _WHEEL], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = next((s for s in done.stderr.splitlines() if s.startswith("ERROR")), "no reason given")
            raise OSError(f"pip could not download {_WHEEL} ({reason})")
        wheel = next(Path(folder).glob("*.whl"))
        return zipfile.ZipFile(wheel).read("recbole/dataset_example/ml-100k/ml-100k.inter")


SOURCES: dict[str, Callable[[], bytes]] = {
    _GROUPLENS: _from_grouplens,
    f"the copy inside the Python package {_WHEEL}, through pip": _from_wheel,
}


def check(path: Path) -> None:
    """Raises `InputError` unless the file is the complete MovieLens-100k table."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise InputError(
            f"{path}: this is not the complete MovieLens-100k table (sha256 {found[:12]}…, expected "
            f"{SHA256[:12]}…). Delete the file and run again to download it."
        )


def fetch_movielens_100k(path: Path, sources: dict[str, Callable[[], bytes]] | None = None) -> None:
    """Writes the checked table to `path`, completely or not at all; tries the sources in order.

    Raises `InputError` if no source has it.
    """
    failures = []
    for name, download in (sources or SOURCES).items():
        log.info("Fetching MovieLens-100k from %s", name)
        try:
            data = download()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, StopIteration) as error:
            failures.append(f"{name}: {error}")
            log.info("This source failed: %s", error)
            continue
        found = hashlib.sha256(data).hexdigest()
        if found != SHA256:
            failures.append(f"{name}: {len(data)} bytes with sha256 {found[:12]}…, expected {SHA256[:12]}…")
            continue
        try:
            with whole_file(path) as part:
                part.write_bytes(data)
        except OSError as error:
            raise InputError(f"{path}: the downloaded data cannot be written ({error}).") from error
        log.info("MovieLens-100k is in %s", path)
        return
    tried = "\n".join(f"  - {failure}" for failure in failures)
    raise InputError(
        f"MovieLens-100k is not at {path} and could not be fetched. Tried:\n{tried}\n"
        f"Put the table there by hand (ml-100k.inter of RecBole, or u.data of GroupLens under the header line "
        f"'user_id:token<TAB>item_id:token<TAB>rating:float<TAB>timestamp:float'), use your own data with --env=csv, "
        f"or run without any network: kedro run --pipeline=full --env=synthetic"
    )
