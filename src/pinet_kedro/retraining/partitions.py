"""Interactions that arrive as files: which are new since the last success, and which of them can be used."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kedro.io import DatasetError
from kedro_datasets.partitions import IncrementalDataset
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pinet_kedro.datasets.files import TextDataset
from pinet_kedro.datasets.raw_log import is_same
from pinet_kedro.datasets.whole_file import whole_file
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.interactions.files import files_below, is_data
from pinet_kedro.parameters import plain
from pinet_kedro.printable import public
from pinet_kedro.sources.raw_files import RawFiles, file_hash

# The raw log of the environment among the partitions of a training; no file that is looked at has such a name.
RAW_LOG = "_raw_log"
CONTENT = "sha256"  # attribute of accepted events: of the file that they were read from


class _Stamp(TypedDict):
    size: int
    mtime_ns: int
    sha256: str


_STAMPS = TypeAdapter(dict[str, _Stamp], config=ConfigDict(strict=True))


@dataclass
class Partition:
    """One file of interactions that is new, or that is known by another content (`changed`)."""

    id: str
    path: Path
    stamp: dict[str, Any]
    changed: bool
    read: Callable[[], Interactions]
    rejected: bool = False

    def set_aside(self, folder: Path, report: str) -> Path:
        """Where the file has gone: into `folder`, with the report beside it. It is new again once it is put back."""
        target = _free_place(folder / self.id, self.stamp["sha256"])
        TextDataset(str(target.with_name(f"{target.name}.txt"))).save(
            report + "\n"
        )  # first: no file without its report
        _move(self.path, target)
        self.rejected = True
        return target


@dataclass
class Delivery:
    """What a run finds: the partitions that are new by id, in order, and the stamps of those already taken.

    `raw_log` is the stamp of the environment's raw log, None if it is no training data; `raw_log_taken` is the one of
    the last success. `files` reads any file of the folder, taken or not, as it is now.
    """

    folder: Path
    new: dict[str, Partition]
    taken: dict[str, dict[str, Any]]
    save_taken: Callable[[dict[str, dict[str, Any]]], None]
    raw_log_taken: dict[str, Any] | None = None
    raw_log: dict[str, Any] | None = None
    files: dict[str, Callable[[], Interactions]] = field(default_factory=dict)

    def stamps(self) -> dict[str, dict[str, Any]]:
        """Of everything that a model may be trained on: the raw log, the partitions already taken, and the new ones
        not rejected."""
        log = {} if self.raw_log is None else {RAW_LOG: self.raw_log}
        fresh = {name: partition.stamp for name, partition in self.new.items() if not partition.rejected}
        return dict(sorted((log | self.taken | fresh).items()))

    @property
    def raw_log_changed(self) -> bool:
        """Whether partitions have been taken with another raw log, with one that was read otherwise, or with none."""
        if not self.taken or self.raw_log is None:
            return False
        return self.raw_log_taken is None or not is_same(self.raw_log_taken, self.raw_log)

    @property
    def changed(self) -> bool:
        """Whether something has another content than what was taken under its name."""
        return self.raw_log_changed or any(partition.changed for partition in self.new.values())

    def contents(self) -> dict[str, str]:
        """The sha256 of each of them."""
        return {name: stamp["sha256"] for name, stamp in self.stamps().items()}

    def confirm(self) -> None:
        """Makes all of them count as taken, but for what was set aside."""
        self.save_taken(self.stamps())


class PartitionsDataset(IncrementalDataset):
    """The files of a folder that no successful run has taken yet.

    Kedro's incremental dataset remembers the greatest name, and would never see a file that comes late under a smaller
    one. Here the checkpoint is the set of all that were taken, each with `size, mtime_ns, ctime_ns, sha256`: a file
    is new when its name is not in it, and changed when its content is another. (The content is read again only where
    size or times differ.) `confirm` adds what the last `load` found and nobody has set aside. The id of a partition is
    its path below the folder, ending included. A file that is still being written should have a name that is not one of
    data (`is_data`), such as 'day.csv.part'.
    """

    DEFAULT_CHECKPOINT_TYPE = "pinet_kedro.datasets.files.JSONDataset"
    DEFAULT_CHECKPOINT_FILENAME = ".taken.json"

    _delivery: Delivery | None = None

    def __init__(self, *, path: str, **entry: Any) -> None:
        """As Kedro's. Raises `InputError` for an address: no file behind one would be found, and none be new."""
        if "://" in path:
            raise InputError(
                f"partitions at {public(path)}: they are read from a folder of this machine, which is no address. Copy "
                "the files into one, and name it as `path` of the catalog entry."
            )
        super().__init__(path=path, **entry)

    def load(self) -> Delivery:  # type: ignore[override]
        """The delivery; nothing of it is read yet."""
        taken = self._taken()
        raw_log = taken.pop(RAW_LOG, None)
        found = {self._path_to_partition(path): Path(path) for path in self._list_partitions()}
        files: dict[str, Callable[[], Interactions]] = {name: partial(self._read, path) for name, path in found.items()}
        new = {}
        for name, path in found.items():
            stamp = RawFiles(path).stamped(taken.get(name))
            if name not in taken or stamp["sha256"] != taken[name]["sha256"]:
                new[name] = Partition(name, path, stamp, name in taken, files[name])
            else:
                taken[name] = stamp  # touched: read once more, and not in every run from now on
        self._delivery = Delivery(
            Path(self._normalized_path), new, taken, self._checkpoint.save, raw_log_taken=raw_log, files=files
        )
        return self._delivery

    def confirm(self) -> None:
        """Makes what the last `load` found count as taken, but for what was set aside."""
        if self._delivery is not None:
            self._delivery.confirm()

    def _read(self, path: Path) -> Interactions:
        """The events of a file; raises `InputError` if they cannot be read."""
        try:
            return Interactions.of(self._dataset_type(**{**self._dataset_config, self._filepath_arg: str(path)}).load())
        except DatasetError as error:
            if not isinstance(error.__cause__, InputError):
                raise
            raise error.__cause__ from None

    def _taken(self) -> dict[str, dict[str, Any]]:
        checkpoint = self._checkpoint
        try:
            # Kedro's own reading takes a broken checkpoint for none, and would take every partition once more.
            taken: dict[str, dict[str, Any]] = checkpoint.load() if checkpoint.exists() else {}
            _STAMPS.validate_python(taken)
            return taken
        except (DatasetError, ValidationError) as error:
            raise InputError(
                f"{checkpoint._describe()['filepath']}, the list of partitions already taken, cannot be read: it "
                'should be {"<name>": {"size": …, "mtime_ns": …, "sha256": "…"}, …}. Restore it, or remove it to '
                "train on all files of the folder anew."
            ) from error

    def _list_partitions(self) -> list[str]:
        folder = Path(self._normalized_path)
        return sorted(str(path) for path in files_below(folder) if is_data(path.relative_to(folder)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path})"  # Kedro's own makes a dataset of a file without a name

    def _exists(self) -> bool:
        return Path(self._normalized_path).is_dir()


def _move(file: Path, target: Path) -> None:
    """Moves a file; one on another file system, such as a share on which it was delivered, is copied as a whole."""
    try:
        os.replace(file, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole_file(target) as part:
            shutil.copy2(file, part)
        file.unlink()


def _free_place(wanted: Path, content: str) -> Path:
    """The wanted place, or, where another file is there, the same with a number before the name.

    What was set aside before under this name may be the only copy of its events.
    """
    place, number = wanted, 1
    while place.exists() and file_hash(place) != content:
        number += 1
        place = wanted.with_name(f"{number}-{wanted.name}")
    return place


def work_key(contents: dict[str, str], parameters: dict[str, Any]) -> str:
    """Hash of what a run does: the sha256 of the raw log and of each partition that it trains on, and its parameters.

    The sections `tracking`, `promotion`, `serving` and `feedback` are left out: they make no difference to the model.
    """
    apart = ("tracking", "promotion", "serving", "feedback")
    relevant = {name: value for name, value in plain(parameters).items() if name not in apart}
    return hashlib.sha256(json.dumps([contents, relevant], sort_keys=True).encode()).hexdigest()
