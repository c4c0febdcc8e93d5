"""Recommendations for every user, computed by Spark as a server would: by the code in the version's own files."""

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pinet_kedro.checking import checked
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.folders import Folder
from pinet_kedro.engines.engine import EngineConfig, check_extra
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.sequences import user_runs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pinet_kedro.serving.batch_inference import Recommendations

# Of an answer of `serving/served_model.py`: first what is stored, then what is counted.
_STORED = {"items": "array<string>", "scores": "array<float>", "stratum": "string", "model_version": "string"}
_COUNTED = {"unknown_items": "long", "fallback": "boolean"}
_ROWS, _SUMMARY = "rows", "summary.json"


class SparkRecommendationsDataset(Folder):
    """Recommendations for every user, computed and written by Spark: Parquet files in the folder `rows`, in no order.

    `save` takes the `Recommendations` of the local batch inference, but the version itself computes the lists:
    executors run the code in its files, which are checked against its digest before. Columns and lists are the same.
    """

    def __init__(
        self, filepath: str, engine: dict[str, Any], folder: str, metadata: dict[str, Any] | None = None
    ) -> None:
        """`engine`: an `EngineConfig`; `folder`: where it has the folder `engine`, which executors share."""
        super().__init__(filepath, metadata)
        self._engine = checked(EngineConfig, engine, "engine")
        self._folder = Path(folder) / "engine"
        if self._engine.name != "spark":
            raise InputError(f"engine.name = {self._engine.name}: recommendations are computed by spark, or locally.")
        check_extra(self._engine)

    def load(self) -> pd.DataFrame:
        self._restore()
        return pd.read_parquet(self._filepath / _ROWS)

    def summary(self) -> dict[str, Any]:
        """The stored summary."""
        return json.loads((self._filepath / _SUMMARY).read_text(encoding="utf-8"))

    def _write(self, data: "Recommendations", folder: Path) -> None:
        from pinet_kedro.engines.spark import Spark
        from pinet_kedro.registry.versions import fetch_version

        if data.config.explain:
            raise InputError(
                "batch_inference.explain: Spark writes lists without explanations. Set it to false, or use an "
                "environment without Spark."
            )
        assert data.registry is not None
        engine = Spark(self._engine, self._folder)
        try:
            with TemporaryDirectory() as place:
                files = fetch_version(data.version, data.registry, Path(place))
                requests = engine.folder / "requests"
                write_histories(data.dataset, data.user_ids, requests, self._engine)
                found = score(engine.spark, files, requests, data, folder / _ROWS)
        finally:
            engine.close()
        (folder / _SUMMARY).write_text(json.dumps(data.summary | found), encoding="utf-8")


def write_histories(dataset: Dataset, user_ids: pd.Series, folder: Path, config: EngineConfig) -> None:
    """Writes `user_id, history` (raw ids of items, the oldest first) of all users as Parquet, in runs of users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    sequences = dataset.sequences
    items = pa.array(dataset.items["item_id"].tolist(), pa.string())
    # As many files as partitions where that makes them smaller: a file is the work of one task.
    events = min(config.block_events, len(sequences.items) // config.partitions + 1)
    for number, (first, last) in enumerate(user_runs(sequences.offsets, events)):
        offsets = sequences.offsets[first : last + 1]
        codes = pa.array(sequences.items[offsets[0] : offsets[-1]] - np.int32(1))
        history = pa.LargeListArray.from_arrays(offsets - offsets[0], pa.DictionaryArray.from_arrays(codes, items))
        table = pa.table({"user_id": pa.array(user_ids.iloc[first:last], pa.string()), "history": history})
        pq.write_table(table, folder / f"{number:06d}.parquet", compression="lz4")


def score(spark: "SparkSession", files: Path, histories: Path, data: "Recommendations", target: Path) -> dict[str, int]:
    """Writes the answers of the version in `files`; returns what only its answers say of the summary.

    Raises `RuntimeError` if not every user has an answer of this version.
    """
    import mlflow
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    session = spark.newSession()  # its settings are its own
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", data.config.block_users)
    # Spark keeps its Python workers, with the code that they have imported, for all tasks with the same variables.
    spark.sparkContext.environment["PINET_VERSION"] = str(files)
    logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)  # it warns of env_manager="local": docs/scaling.md
    answer = mlflow.pyfunc.spark_udf(
        session,
        str(files),
        ", ".join(f"{name} {kind}" for name, kind in (_STORED | _COUNTED).items()),
        env_manager="local",
        params={"k": data.config.k},
        extra_env={"OMP_NUM_THREADS": str(data.config.threads)} if data.config.threads else None,
    )
    table = session.read.parquet(str(histories.resolve())).select("user_id", answer(F.struct("history")).alias("of"))
    counts = Observation()
    table = table.observe(
        counts,
        F.count_if(F.col("of.model_version") == data.version).alias("users"),
        F.count_if("of.fallback").alias("users_without_history"),
        F.sum("of.unknown_items").alias("skipped_events"),
    )
    table.select("user_id", *(f"of.{name}" for name in _STORED)).write.parquet(str(target.resolve()))
    found = {name: int(value or 0) for name, value in counts.get.items()}
    if found["users"] != len(data.user_ids):
        raise RuntimeError(
            f"version {data.version} has answered for {found['users']:,} of {len(data.user_ids):,} users"
        )
    return found
