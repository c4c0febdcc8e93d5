"""The engine of an environment: where tables live, and how they are stored between steps."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError

if TYPE_CHECKING:
    from ibis.expr.types import Table


class EngineConfig(Configuration):
    """The entry `engine` of a dataset in the catalog."""

    name: Literal["duckdb"] = "duckdb"
    memory: str = Field(
        "4GB", pattern=r"^[1-9][0-9]*[KMGT]B$", description="of the engine; Python needs about 1 GB more"
    )
    threads: int | None = Field(None, ge=1, le=1024, description="null: all cores")
    block_events: int = Field(2**24, ge=1, le=2**31, description="events that are sorted and written at a time")


class Engine(ABC):
    """A connection of Ibis, and a folder for what does not fit into memory."""

    def __init__(self, config: EngineConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    @abstractmethod
    def read(self, files: list[Path]) -> "Table":
        """The rows of Parquet files."""

    @abstractmethod
    def store(self, name: str, parts: Iterable["Table"]) -> "Table":
        """The rows of the parts, computed and stored under this name; replaces what was there."""

    @abstractmethod
    def close(self) -> None:
        """Ends the connection and deletes the folder."""


class DuckDB(Engine):
    """One file of DuckDB, which spills to disk what its memory does not hold."""

    def __init__(self, config: EngineConfig, folder: Path) -> None:
        import ibis

        super().__init__(config, folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        settings: dict[str, Any] = {"memory_limit": config.memory, "temp_directory": str(folder / "spilled")}
        if config.threads:
            settings["threads"] = config.threads
        # The order of rows is a column here; keeping it by position costs memory.
        self._connection = ibis.duckdb.connect(folder / "tables.duckdb", preserve_insertion_order=False, **settings)

    def read(self, files: list[Path]) -> "Table":
        return self._connection.read_parquet([str(file) for file in files])

    def store(self, name: str, parts: Iterable["Table"]) -> "Table":
        for number, part in enumerate(parts):
            if number:
                self._connection.insert(name, part)
            else:
                self._connection.create_table(name, part, overwrite=True)
        return self._connection.table(name)

    def close(self) -> None:
        self._connection.disconnect()
        shutil.rmtree(self.folder, ignore_errors=True)


def check_extra(config: EngineConfig) -> None:
    """Raises `InputError` if a package that the engine needs is not installed."""
    missing = [name for name in ("ibis", config.name) if find_spec(name) is None]
    if missing:
        raise InputError(
            f"The engine '{config.name}' needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'pinet-kedro[scale]'"
        )


def open_engine(config: EngineConfig, folder: Path) -> Engine:
    """The engine, with an empty folder. Raises `InputError` as `check_extra`."""
    check_extra(config)
    return DuckDB(config, folder)
