"""Kedro datasets that are files: raw interactions, and results that are written completely or not at all."""

import math
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro.utils import load_obj
from kedro_datasets._typing import PlotlyPreview, TablePreview
from kedro_datasets.json import JSONDataset as _JSONDataset
from kedro_datasets.pandas import ParquetDataset as _ParquetDataset
from kedro_datasets.plotly import JSONDataset as _PlotlyDataset
from pydantic import BaseModel

from pinet_kedro.checking import checked
from pinet_kedro.datasets.download import MOVIELENS_100K
from pinet_kedro.datasets.manifests import Signed, Source
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Columns, Interactions, read_interactions
from pinet_kedro.interactions.files import is_there
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.reading.times import check_unit
from pinet_kedro.sources.fetched import raw_files
from pinet_kedro.sources.raw_files import RawFiles


class InteractionsDataset(Source, AbstractDataset[Any, Interactions]):
    """Raw interactions in a file of any supported format, or all files of a folder or a pattern, on this machine or
    behind an address; columns have the user's names."""

    def __init__(
        self,
        filepath: str | None,
        columns: dict[str, str | int | None] | None = None,
        timestamp_unit: str = "auto",
        fetch: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """`fetch`: the file is MovieLens-100k; it is downloaded if it is missing, and checked."""
        if not filepath:
            raise InputError("which file? Use --params=filepath=events.csv,user=…,item=…,timestamp=…")
        self._files = raw_files(filepath)
        self._filepath = self._files.given
        self._unit = check_unit(timestamp_unit)
        self._fetch = fetch
        self.metadata = metadata
        self._columns = checked(Columns, {k: v for k, v in (columns or {}).items() if v not in (None, "")}, "columns")

    @property
    def files(self) -> RawFiles:
        return self._files

    def load(self) -> Interactions:
        self._fetch_if_missing()
        with self._reading(self.files) as path:
            found = read_interactions(path, self._columns, self._unit)
        return Interactions(found.events, self.files.origin(found.origin))

    def _fetch_if_missing(self) -> None:
        if self._fetch and self._filepath:
            if not self._filepath.exists():
                MOVIELENS_100K.fetch(self._filepath)
            MOVIELENS_100K.check(self._filepath)

    def save(self, data: Any) -> None:  # noqa: ARG002
        raise DatasetError("raw interactions are only read")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.files.shown, "columns": self._columns.renaming(), "timestamp_unit": self._unit}

    def _exists(self) -> bool:
        return self._filepath is None or is_there(self._filepath) or self._fetch  # an address is read to find out


class SyntheticInteractionsDataset(Source, AbstractDataset[Any, Interactions]):
    """Synthetic raw interactions from a seed; needs no file and no network."""

    def __init__(self, metadata: dict[str, Any] | None = None, **settings: Any) -> None:
        self.metadata = metadata
        self._config = checked(SyntheticLog, settings, "the synthetic log")

    def load(self) -> Interactions:
        source = f"synthetic log (seed {self._config.seed})"
        return Interactions.canonical(generate_interactions(self._config), source)

    def save(self, data: Any) -> None:  # noqa: ARG002
        raise DatasetError("the synthetic log is only read")

    def _describe(self) -> dict[str, Any]:
        return self._config.model_dump()

    def _exists(self) -> bool:
        return True


class _WholeFile(Signed):
    """Saves under a temporary name, then renames: a killed run leaves the old file, never a part of a new one."""

    def save(self, data: Any) -> None:
        final = self._filepath
        try:
            with self._signed_file() as self._filepath:
                super().save(data)  # type: ignore[misc]
        finally:
            self._filepath = final


class ParquetDataset(_WholeFile, _ParquetDataset):
    """A table as Parquet."""

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows for kedro-viz, with numbers of four decimals, or three digits if they are small."""
        table: Any = super().preview(nrows)
        table["data"] = [[_rounded(value) for value in row] for row in table["data"]]
        return table


def _rounded(value: Any) -> Any:
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.3g}")


class EventsDataset(ParquetDataset):
    """The events of `Interactions` as Parquet, without their origin: equal events give equal files."""

    def load(self) -> Interactions:
        return Interactions.canonical(super().load(), str(self._filepath))

    def save(self, data: Interactions) -> None:
        super().save(data.in_memory().events)


class JSONDataset(_WholeFile, _JSONDataset):
    """A dictionary as JSON."""


class PlotlyDataset(_WholeFile, _PlotlyDataset):
    """A plotly figure as JSON."""

    def preview(self) -> PlotlyPreview:
        """The figure for kedro-viz, with its title above it: the themes of kedro-viz would draw a title across it."""
        figure: Any = super().preview()
        layout = figure["layout"]
        title = (layout.pop("title", None) or {}).get("text", "").replace("<br>", " ")
        above = {"x": 0, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom", "yshift": 20}
        text = {"text": "<br>".join(wrap(title, 80)), "showarrow": False, "align": "left", **above}
        layout["annotations"] = [*layout.get("annotations", []), text]
        return figure


class _File(Signed, AbstractDataset[Any, Any]):
    """A file that no dataset of Kedro's own writes."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        return self._filepath.exists()


class TextDataset(_File):
    """A text file, such as an HTML page."""

    def load(self) -> str:
        return self._filepath.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        with self._signed_file() as part:
            part.write_text(data, encoding="utf-8")


class StreamedParquetDataset(_File):
    """A table as Parquet, written batch by batch; the file exists only when it is complete.

    `save` takes an iterable of pyarrow record batches with a `schema`. Its `summary`, which may be complete only after
    the last batch, becomes the file's metadata.
    """

    _GROUP_ROWS = 50_000

    def load(self) -> pd.DataFrame:
        return pd.read_parquet(self._filepath)

    def summary(self) -> dict[str, Any]:
        """The stored summary; whole numbers are converted back."""
        import pyarrow.parquet as pq

        kept = {key.decode(): value.decode() for key, value in pq.read_metadata(self._filepath).metadata.items()}
        return {key: int(value) if value.isdecimal() else value for key, value in kept.items()}

    def save(self, data: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._signed_file() as part, pq.ParquetWriter(part, data.schema) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in data:
                waiting.append(batch)
                if sum(map(len, waiting)) >= self._GROUP_ROWS:  # readers dislike many small row groups
                    writer.write_table(pa.Table.from_batches(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting))
            writer.add_key_value_metadata({key: str(value) for key, value in data.summary.items()})


class PydanticDataset(_File):
    """A typed value as JSON; `model` is the dotted name of its pydantic class."""

    def __init__(self, filepath: str, model: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath, metadata)
        self._model = model

    def load(self) -> BaseModel:
        return load_obj(self._model).model_validate_json(self._filepath.read_text(encoding="utf-8"))

    def save(self, data: BaseModel) -> None:
        with self._signed_file() as part:
            part.write_text(data.model_dump_json(indent=2), encoding="utf-8")

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "model": self._model}
