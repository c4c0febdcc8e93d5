"""Rows, columns and sizes of stored datasets for `kedro viz`, which itself keeps those of one run alone."""

import json
import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from pinet_kedro.project import project_folder
from pinet_kedro.runs.paths import stored_path

log = logging.getLogger("pinet_kedro")

_Statistics = dict[str, dict[str, int]]


class VizStatistics:
    """Adds to the file that kedro-viz has written: what earlier runs have stored, and all that this one has."""

    def __init__(self) -> None:
        self._earlier: _Statistics = {}
        self._read: _Statistics = {}

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Keeps the statistics of earlier runs: kedro-viz replaces the file."""
        self._earlier, self._read = _stored(), {}

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Counts raw events, whose files have other formats than Parquet."""
        # Without touching the events themselves: those in an engine may not fit into memory.
        if isinstance(size := getattr(data, "size", None), tuple):
            self._read[dataset_name] = dict(zip(("rows", "columns"), size, strict=True))

    @hook_impl(trylast=True)  # after kedro-viz
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Writes the statistics of every dataset; without kedro-viz, whose file is not there, of none."""
        if not _file().is_file():
            return
        found = {name: {**self._read.get(name, {}), **statistics(catalog, name)} for name in pipeline.datasets()}
        everything = {**self._earlier, **_stored(), **{name: of for name, of in found.items() if of}}
        try:
            _file().write_text(json.dumps(everything), encoding="utf-8")
        except OSError as error:
            log.warning("The statistics of kedro-viz could not be written: %s", error)


def statistics(catalog: CatalogProtocol, name: str) -> dict[str, int]:
    """`file_size` of a stored dataset in bytes; of tables also `rows, columns`; of sequences the events as rows."""
    path = stored_path(catalog, name)
    if path is None or not path.exists():
        return {}
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    of = {"file_size": sum(file.stat().st_size for file in files)}
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_metadata(path)
        of |= {"rows": table.num_rows, "columns": table.num_columns}
    elif (items := path / "sequences" / "items.npy").is_file():
        import numpy as np

        of["rows"] = len(np.load(items, mmap_mode="r"))
    return of


def _file() -> Path:
    return project_folder() / ".viz" / "stats.json"


def _stored() -> _Statistics:
    try:
        return json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it is not whole
        return {}
