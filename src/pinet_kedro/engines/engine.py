"""The engine of an environment: where tables live, and how they are stored between steps."""

import os
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

    name: Literal["duckdb", "spark"] = "duckdb"
    memory: str = Field("4GB", pattern=r"^[1-9][0-9]*[KMGT]B$", description="of DuckDB, or of Spark's driver")
    threads: int | None = Field(None, ge=1, le=1024, description="null: all cores")
    block_events: int = Field(2**23, ge=1, le=2**31, description="events that are sorted and written at a time")
    master: str = Field("local[*]", description="spark: address of the cluster")
    partitions: int = Field(64, ge=1, le=100_000, description="spark: parts into which tables are divided")
    options: dict[str, str] = Field(default_factory=dict, description="spark: further settings of the session")


class Engine(ABC):
    """A connection of Ibis, and a folder for what does not fit into memory."""

    def __init__(self, config: EngineConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @property
    def partitions(self) -> int:
        """Into how many parts a table must be divided where a sort of all rows would be one task; 1: none."""
        return 1

    @abstractmethod
    def read(self, folder: Path) -> "Table":
        """The rows of the Parquet files in a folder."""

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
        settings: dict[str, Any] = {"memory_limit": config.memory, "temp_directory": str(folder / "spilled")}
        if config.threads:
            settings["threads"] = config.threads
        # The order of rows is a column here; keeping it by position costs memory.
        self._connection = ibis.duckdb.connect(folder / "tables.duckdb", preserve_insertion_order=False, **settings)

    def read(self, folder: Path) -> "Table":
        return self._connection.read_parquet(str(folder / "*.parquet"))

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
    """Raises `InputError` if a package that the engine needs is not installed, or Java for Spark."""
    package, extra = ("duckdb", "scale") if config.name == "duckdb" else ("pyspark", "spark")
    missing = [name for name in ("ibis", package) if find_spec(name) is None]
    if missing:
        raise InputError(
            f"The engine '{config.name}' needs packages that are not installed ({', '.join(missing)}): "
            f"pip install 'pinet-kedro[{extra}]'"
        )
    if config.name == "spark" and not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise InputError("The engine 'spark' needs Java 17 or newer: install it, or set JAVA_HOME.")


def open_engine(config: EngineConfig, folder: Path) -> Engine:
    """The engine, with an empty folder. Raises `InputError` as `check_extra`."""
    check_extra(config)
    if config.name == "duckdb":
        return DuckDB(config, folder)
    from pinet_kedro.engines.spark import Spark

    return Spark(config, folder)


def whole_number(value: Any) -> int:
    """The value of an expression that is one whole number; 0 where it is null."""
    return int(value.to_pyarrow().as_py() or 0)
