"""Kedro datasets of logs that an engine prepares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pinet_kedro.checking import checked
from pinet_kedro.datasets.files import InteractionsDataset
from pinet_kedro.datasets.folders import Folder
from pinet_kedro.engines.engine import EngineConfig, check_extra, open_engine
from pinet_kedro.engines.logs import CleanLog, CleanTables, RawTables, write_indexed
from pinet_kedro.engines.staging import stage
from pinet_kedro.interactions.events import Interactions


class EngineInteractionsDataset(InteractionsDataset):
    """Raw interactions as `InteractionsDataset`, read into an engine: the log may be larger than memory."""

    def __init__(self, engine: dict[str, Any], folder: str, **entry: Any) -> None:
        """`engine`: an `EngineConfig`; `folder`: where it has the folder `engine`, deleted when the log is clean."""
        super().__init__(**entry)
        self._engine = checked(EngineConfig, engine, "engine")
        self._folder = Path(folder) / "engine"
        check_extra(self._engine)

    def load(self) -> Any:
        self._fetch_if_missing()
        engine = open_engine(self._engine, self._folder)
        try:
            with self._reading(self.files) as path:
                staged = stage(path, self._columns, self._unit, self._folder / "staged")
            return RawTables(engine, replace(staged, origin=self.files.origin(staged.origin)))
        except Exception:
            engine.close()  # nothing of a log that cannot be read stays
            raise

    def description(self) -> dict[str, Any]:
        """That of `InteractionsDataset`: the engine changes no result."""
        return super().description() | {"type": InteractionsDataset.__name__}


class CleanLogDataset(Folder):
    """Clean events as memory-mapped arrays, one run per user, and the ids of users and items."""

    def load(self) -> CleanLog:
        self._restore()
        return CleanLog(self._filepath)

    def _write(self, data: CleanTables | Interactions, folder: Path) -> None:
        """`Interactions`: what retraining gathers from partitions alone."""
        if isinstance(data, CleanTables):
            data.write(folder)
        else:
            write_indexed(data.indexed(), folder)
