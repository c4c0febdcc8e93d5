"""Kedro datasets that are folders: prepared data and trained models, replaced completely or not at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.manifests import Signed, content_hash, manifest_path
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.interactions.stored_arrays import mapped_arrays, store_arrays

_SEQUENCES, _SPLIT = "sequences", "split"


class Folder(Signed, AbstractDataset[Any, Any]):
    """A folder that is replaced as a whole, including its manifest."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self._old = self._filepath.with_name(f"{self._filepath.name}.old")
        self.metadata = metadata

    def _restore(self) -> None:
        """Puts back the old folder if a save was killed between its two renames."""
        if self._old.exists() and not self._filepath.exists():
            self._old.rename(self._filepath)

    def save(self, data: Any) -> None:
        self._restore()
        part = self._filepath.with_name(f"{self._filepath.name}.{os.getpid()}.part")
        for left_over in (part, self._old):
            shutil.rmtree(left_over, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            self._write(data, part)
            if self.recipe:
                self._sign(self._filepath, manifest_path(part), content_hash(part))
            if self._filepath.exists():
                self._filepath.rename(self._old)
            part.rename(self._filepath)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(self._old, ignore_errors=True)

    def _write(self, data: Any, folder: Path) -> None:
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        self._restore()
        return self._filepath.is_dir()


class PreparedDataset(Folder):
    """A `Dataset`: one memory-mapped `.npy` file per array, the strata as JSON, the items as Parquet."""

    def load(self) -> Dataset:
        self._restore()
        strata = (self._filepath / "strata.json").read_text(encoding="utf-8")
        return Dataset(
            sequences=mapped_arrays(Sequences, self._filepath / _SEQUENCES),
            split=mapped_arrays(Split, self._filepath / _SPLIT),
            strata=ReportingStrata.model_validate_json(strata),
            items=pd.read_parquet(self._filepath / "items.parquet"),
        )

    def _write(self, data: Dataset, folder: Path) -> None:
        for part, name in ((data.sequences, _SEQUENCES), (data.split, _SPLIT)):
            (folder / name).mkdir()
            store_arrays(part, folder / name)
        (folder / "strata.json").write_text(data.strata.model_dump_json(indent=2), encoding="utf-8")
        data.items.to_parquet(folder / "items.parquet")


class RecommenderDataset(Folder):
    """A trained recommender, or the reason why there is none: safetensors and JSON, which cannot execute code."""

    def summary(self) -> dict[str, Any]:
        """The configurations of backbone and plugins, without weights."""
        return json.loads((self._filepath / "recommender.json").read_text(encoding="utf-8"))

    def load(self) -> Any:
        from pinet_kedro.recommender import load_model

        self._restore()
        return load_model(self._filepath)

    def _write(self, data: Any, folder: Path) -> None:
        data.save(folder)
