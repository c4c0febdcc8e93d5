"""Kedro dataset of the optional metadata of items: titles and categories."""

import logging
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from pinet_kedro.checking import checked
from pinet_kedro.datasets.download import MOVIELENS_100K_ITEMS
from pinet_kedro.datasets.manifests import Entry, Source
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.items import ItemColumns, no_items, read_items
from pinet_kedro.sources.fetched import raw_files
from pinet_kedro.sources.raw_files import RawFiles

log = logging.getLogger(__name__)


class ItemMetadataDataset(Source, AbstractDataset[Any, pd.DataFrame]):
    """Metadata of items from a file of any supported format; without a file, a table without items."""

    def __init__(
        self,
        filepath: str | None = None,
        columns: dict[str, Any] | None = None,
        fetch: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """`fetch`: the file is that of MovieLens-100k; it is downloaded if it is missing, and checked."""
        self._files = raw_files(filepath) if filepath else None
        self._filepath = self._files.given if self._files else None
        self._fetch = fetch
        self.metadata = metadata
        self._columns = checked(ItemColumns, columns or {}, "columns of item_metadata")

    @property
    def files(self) -> RawFiles | None:
        """The file, unless it is not on this machine where it should be: then it is no reason to stop."""
        return None if self._filepath and not self._filepath.exists() else self._files

    @property
    def named(self) -> bool:
        """Whether the catalog names a file."""
        return self._files is not None

    def entries(self, name: str) -> dict[str, Entry]:
        """The dataset contains the categories and nothing else of it: with other titles, models stay what they were."""
        return {key: entry.model_copy(update={"contained": True}) for key, entry in super().entries(name).items()}

    def load(self) -> pd.DataFrame:
        """The table of `read_items`, empty without a file, and where it cannot be fetched: a run can do without."""
        if self._files is None:
            return no_items()
        if self._fetch and self._filepath:
            try:
                if self.files is None:
                    MOVIELENS_100K_ITEMS.fetch(self._filepath)
            except InputError as error:
                log.warning("Items have no titles in this run: %s", error)
                return no_items()
            MOVIELENS_100K_ITEMS.check(self._filepath)
        with self._reading(self._files) as path:
            return read_items(path, self._columns)

    def save(self, data: Any) -> None:  # noqa: ARG002
        raise DatasetError("metadata of items are only read")

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": self._files.shown if self._files else None,
            "columns": self._columns.model_dump(mode="json"),
        }

    def _exists(self) -> bool:
        return True
