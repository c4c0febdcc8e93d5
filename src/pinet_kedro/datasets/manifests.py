"""Manifests: the description of every stored dataset and model, written with it and checked before it is used.

A manifest is `<folder>/manifest.json`, or `<file>.manifest.json` beside a file. A folder is replaced together with its
manifest. A file is replaced before its manifest: after a crash in between, the content does not match the manifest,
which is detected when the file is read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from kedro.io import AbstractDataset, DatasetError
from pydantic import Field, ValidationError

from pinet_kedro.configuration import Configuration
from pinet_kedro.datasets.whole_file import whole_file
from pinet_kedro.errors import InputError
from pinet_kedro.project import short_path
from pinet_kedro.sources.raw_files import RawFiles, file_hash

FORMAT = 1
MANIFEST_FILE = "manifest.json"


class Entry(Configuration):
    """The record of a dataset or of one of its ancestors.

    `content` is the sha256 of its bytes. A raw source has no `node`; its `configuration` is its description in the
    catalog, and `stamp` shows without reading the file that it has not changed. `contained`: what counts of a raw
    source is in the content of what was made from it, so datasets made from two versions of it may belong together.
    """

    content: str
    place: str
    configuration: dict[str, Any]
    node: str | None = None
    pipeline: str | None = None
    environment: str | None = None
    code: dict[str, str] = Field(default_factory=dict)
    made: str | None = None
    stamp: dict[str, int] | None = None
    contained: bool = False


class Manifest(Entry):
    """The manifest of a stored dataset: its own entry, and those of all stored ancestors by name (`lineage`)."""

    format: int
    dataset: str
    lineage: dict[str, Entry]

    def entries(self) -> dict[str, Entry]:
        """The dataset and its ancestors by name."""
        return {self.dataset: self, **self.lineage}

    def contents(self) -> dict[str, str]:
        """The sha256 of the dataset and of each ancestor, by name."""
        return {name: entry.content for name, entry in sorted(self.entries().items())}

    def tags(self) -> dict[str, str]:
        """Tags of the registered version of this stored model."""
        return {"model.sha256": self.content, **{f"code.{key}": value for key, value in self.code.items()}}


def manifest_path(path: Path) -> Path:
    """The path of the manifest for the file or folder `path`."""
    return path / MANIFEST_FILE if path.is_dir() else path.with_name(f"{path.name}.{MANIFEST_FILE}")


def content_hash(path: Path) -> str:
    """sha256 of a file, or of the names and sha256 of all files in a folder except its manifest."""
    if not path.is_dir():
        return file_hash(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p != path / MANIFEST_FILE)
    listed = [[p.relative_to(path).as_posix(), content_hash(p)] for p in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """The manifest for `path`. Raises `InputError` if it cannot be read; the caller adds what to do."""
    place = manifest_path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise InputError(
                f"{short_path(place)} has format {content.get('format')!r}, and this version reads format {FORMAT}"
            )
        return Manifest.model_validate(content)
    except FileNotFoundError:
        raise InputError(
            f"{short_path(path)} has no manifest: an earlier version of this project has made it, or something else"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise InputError(f"{short_path(place)}, the manifest of {short_path(path)}, cannot be read") from error


class Source:
    """Base of raw data sources. They have no manifest; datasets made from them record them."""

    _stamp: dict[str, int] | None = None  # of the files that were read, if they are on this machine

    @property
    def files(self) -> RawFiles | None:
        """Its files, if there are any."""
        return None

    @property
    def named(self) -> bool:
        """Whether the catalog names data at all; a source without is not compared with that of stored data."""
        return True

    @property
    def shown(self) -> str:
        """The name in messages."""
        return self.files.shown if self.files else type(self).__name__

    def description(self) -> dict[str, Any]:
        """The description in the catalog without the path: another file with the same content is the same source."""
        description = {"type": type(self).__name__, **self._describe()}  # type: ignore[attr-defined]
        description.pop("filepath", None)
        return json.loads(json.dumps(description, default=str))

    @contextmanager
    def _reading(self, files: RawFiles) -> Iterator[Path]:
        """As `RawFiles.reading`; files that change from now on are not recorded as what was read."""
        here = files.given is not None and files.are_there()
        self._stamp = files.stamp() if here else None
        with files.reading() as path:
            yield path

    def entries(self, name: str) -> dict[str, Entry]:
        """The entry of this source in the lineage of datasets made from it.

        Raises `InputError` if its files have changed since they were read: what was made from them would be taken for
        made from what is there now.
        """
        description, files = self.description(), self.files
        if files is None:
            content = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
            return {name: Entry(content=content, place=self.shown, configuration=description)}
        content, stamp = files.content(), files.stamp()
        # Rights or links of a file may change in a run, which changes its ctime and nothing that was read.
        if self._stamp is not None and {**self._stamp, "ctime_ns": 0} != {**stamp, "ctime_ns": 0}:
            raise InputError(f"{self.shown} has changed since this run read it: run again when nothing writes to it.")
        return {name: Entry(content=content, place=self.shown, configuration=description, stamp=stamp)}


class _Gate(Protocol):
    def record(self, content: str) -> None: ...


@dataclass(frozen=True)
class Recipe:
    """How a run makes a dataset: its manifest without the content. `parents` are the nearest stored datasets."""

    dataset: str
    node: str
    pipeline: str
    environment: str | None
    configuration: dict[str, Any]
    parents: dict[str, Any]
    code: dict[str, str]
    gate: _Gate | None = None

    def manifest(self, place: Path, content: str) -> Manifest:
        """The manifest of the new dataset, with the lineage of its parents."""
        return Manifest(
            format=FORMAT,
            dataset=self.dataset,
            content=content,
            place=short_path(place),
            configuration=self.configuration,
            node=self.node,
            pipeline=self.pipeline,
            environment=self.environment,
            code=self.code,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            lineage=merged(
                parent.entries(name) if isinstance(parent, Source) else parent.manifest().entries()
                for name, parent in self.parents.items()
            ),
        )


def merged(lineages: Iterable[dict[str, Entry]]) -> dict[str, Entry]:
    """The entries of several datasets by name; the first entry of each lineage is the dataset itself.

    Raises `MixedError` if a name has two different contents; of a `contained` source the newer lineage's is taken.
    """
    found: dict[str, tuple[Entry, Entry]] = {}
    for entries in filter(None, lineages):  # a source that is switched off has none
        itself = next(iter(entries.values()))
        for name, entry in entries.items():
            known, by = found.setdefault(name, (entry, itself))
            if known.content == entry.content:
                continue
            if entry.contained or known.contained:
                found[name] = max((known, by), (entry, itself), key=lambda pair: pair[1].made or "")
            else:
                raise MixedError(name, (known, by), (entry, itself))
    return {name: entry for name, (entry, _) in found.items()}


class MixedError(InputError):
    """Stored datasets were made from different versions of a third one; `older` must be made again."""

    def __init__(self, name: str, one: tuple[Entry, Entry], other: tuple[Entry, Entry]) -> None:
        derived = [by for entry, by in (one, other) if entry is not by]
        self.older: Any = min(derived, key=lambda by: by.made or "")
        place = one[0].place
        if len(derived) == 1:
            what = f"{self.older.place} was made from another {place} than the one that is there now"
        else:
            what = f"{one[1].place} and {other[1].place} were made from different versions of {place} ('{name}')"
        super().__init__(f"{what}: they do not belong together")


class Signed:
    """Base of datasets that are stored with a manifest.

    In a run, a hook gives each of them its recipe. Without a recipe, `save` writes no manifest.
    """

    _filepath: Any
    recipe: Recipe | None = None

    def manifest(self) -> Manifest:
        """The manifest of the stored content."""
        return read_manifest(Path(self._filepath))

    @contextmanager
    def _signed_file(self) -> Iterator[Path]:
        """As `whole_file`; then writes the manifest."""
        path = Path(self._filepath)
        with whole_file(path) as part:
            yield part
            content = content_hash(part) if self.recipe else ""
        if self.recipe:
            self._sign(path, manifest_path(path), content)

    def _sign(self, path: Path, place: Path, content: str) -> None:
        assert self.recipe is not None
        manifest = self.recipe.manifest(path, content)
        with whole_file(place) as part:
            part.write_text(manifest.model_dump_json(indent=1, exclude_defaults=True), encoding="utf-8")
        if self.recipe.gate:
            self.recipe.gate.record(content)


class ManifestDataset(AbstractDataset[None, Manifest]):
    """The manifest for `filepath`, for nodes that report the origin of their inputs."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Manifest:
        return read_manifest(self._filepath)

    def save(self, data: None) -> None:  # noqa: ARG002
        raise DatasetError("a manifest is written with the dataset that it describes")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        return manifest_path(self._filepath).exists()
