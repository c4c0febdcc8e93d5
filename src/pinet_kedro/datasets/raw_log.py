"""The raw log of the environment, what `full` trains on, as a part of what retraining trains on."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kedro.io import AbstractDataset, CatalogProtocol, DatasetError

from pinet_kedro.datasets.manifests import Entry, Source
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.sources.raw_files import RawFiles, identity_of

ENTRY = "raw_interactions"
WAY_OUT = (
    "Retraining trains on the raw log of the environment and on all partitions. Restore the log, or name the "
    "environment or parameters that name it; if the partitions are the whole log, set retraining.raw_log: false"
)


@dataclass(frozen=True)
class RawLog:
    """The raw log, not yet read. `dataset` opens its entry in the catalog."""

    dataset: Callable[[], Any]

    @property
    def shown(self) -> str:
        """The name in messages."""
        return files.shown if (files := self.files) else f"'{ENTRY}' of the catalog"

    @property
    def files(self) -> RawFiles | None:
        """Its files, if there are any."""
        source = self._opened()
        return source.files if isinstance(source, Source) else None

    @property
    def description(self) -> dict[str, Any] | None:
        """How its files are read, such as the columns and the unit of times; None for a dataset class of the user."""
        source = self._opened()
        return source.description() if isinstance(source, Source) else None

    def stamped(self, known: dict[str, Any] | None) -> dict[str, Any]:
        """The stamp as of a partition, with a number for the `description`, as `reading`; a source without a file is
        known by its description alone."""
        if (files := self.files) is not None:
            if not files.are_there():
                self.read()  # which may fetch it
            return {**files.stamped(known), "reading": identity_of(json.dumps(self.description, sort_keys=True))}
        source = self._opened()
        if isinstance(source, Source):
            content = source.entries(ENTRY)[ENTRY].content
        else:
            content = hashlib.sha256(repr(source).encode()).hexdigest()
        return {"size": 0, "mtime_ns": 0, "sha256": content}

    def differs(self, known: dict[str, Any] | None) -> bool:
        """Whether it is another one than the known one, if there is one; quick where its file has not been touched."""
        gone = (files := self.files) is not None and not files.are_there()
        return known is not None and not gone and not is_same(known, self.stamped(known))

    def read(self) -> Interactions:
        """Its events, in memory. Raises `InputError` if they cannot be read."""
        return self.opened().in_memory()

    def opened(self) -> Any:
        """Its events, in an engine where the environment prepares logs in one. Raises `InputError` as `read`.

        The caller closes them before they are opened again.
        """
        try:
            return Interactions.of(self._opened().load())
        except DatasetError as error:
            raise _unreadable(error) from error

    def _opened(self) -> Any:
        try:
            return self.dataset()
        except (DatasetError, InputError) as error:
            raise _unreadable(error) from error


def is_same(known: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two stamps are of the same content, read alike; earlier versions stored nothing of the latter."""
    return known["sha256"] == now["sha256"] and known.get("reading", now.get("reading")) == now.get("reading")


def _unreadable(error: BaseException) -> InputError:
    cause = error.__cause__ if isinstance(error.__cause__, InputError) else error  # Kedro adds the class of the dataset
    return InputError(f"the raw log cannot be read: {str(cause).rstrip('.')}. {WAY_OUT}.")


class RawLogDataset(Source, AbstractDataset[None, RawLog | None]):
    """The raw log for nodes that read it only where there is work; None where `retraining.raw_log` is false.

    `catalog` is set by a hook (`runs/raw_log.py`): which dataset the log is, is known once all files are merged.
    """

    catalog: CatalogProtocol | None = None

    def __init__(self, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata

    def load(self) -> RawLog | None:
        assert self.catalog is not None
        return RawLog(self._source) if self.catalog.load("params:retraining").raw_log else None

    def entries(self, name: str) -> dict[str, Entry]:  # noqa: ARG002
        """The entry of the raw log, under its own name; nothing where it is no training data."""
        source = None if self.load() is None else self._source()
        return source.entries(ENTRY) if isinstance(source, Source) else {}

    def save(self, data: None) -> None:  # noqa: ARG002
        raise DatasetError("raw interactions are only read")

    def _source(self) -> Any:
        assert self.catalog is not None
        return self.catalog.get(ENTRY)

    def _describe(self) -> dict[str, Any]:
        return {"of": ENTRY}
