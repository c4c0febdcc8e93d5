"""Spark as the engine: tables are Parquet in a folder that driver and executors share."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinet_kedro.engines.engine import Engine, EngineConfig

if TYPE_CHECKING:
    from ibis.expr.types import Table
    from pyspark.sql import SparkSession


class Session:
    """The session of Spark in this process: the one that is there, or a new one, which `close` stops."""

    def __init__(self, config: EngineConfig) -> None:
        from pyspark.sql import SparkSession

        found = SparkSession.getActiveSession()
        self._own = found is None
        self.spark: SparkSession = found or _start(config)

    def close(self) -> None:
        if self._own:
            self.spark.stop()


def _start(config: EngineConfig) -> "SparkSession":
    from pyspark.sql import SparkSession

    # Six times a run; the tests show that results on Spark are those of pandas 3.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(config.master).appName("pinet-kedro")
    settings = {
        "spark.driver.memory": config.memory.replace("B", "").lower(),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(config.partitions),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower(),
        **config.options,
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    # It warns every 15 s while the cluster has no executor to give, and nothing else shows why nothing happens.
    jvm: Any = session.sparkContext._jvm
    log4j = jvm.org.apache.logging.log4j
    log4j.core.config.Configurator.setLevel("org.apache.spark.scheduler.TaskSchedulerImpl", log4j.Level.WARN)
    return session


class Spark(Engine):
    """A session of Spark; every stored table is a folder of Parquet files."""

    def __init__(self, config: EngineConfig, folder: Path) -> None:
        super().__init__(config, folder)
        import ibis

        self._session = Session(config)
        self.spark = self._session.spark
        self._connection = ibis.pyspark.connect(self.spark)
        self._number = count()

    @property
    def partitions(self) -> int:
        return self.config.partitions

    def read(self, folder: Path) -> "Table":
        return self._connection.read_parquet(str(folder.resolve()))

    def store(self, name: str, parts: Iterable["Table"]) -> "Table":
        # A folder of its own each time: a table may be made from what had its name before.
        place = self.folder.resolve() / f"{name}_{next(self._number)}"
        for number, part in enumerate(parts):
            self._connection.to_parquet(part, place / str(number))
        return self._connection.read_parquet(str(place), recursiveFileLookup=True)

    def close(self) -> None:
        self._session.close()
        shutil.rmtree(self.folder, ignore_errors=True)
