"""The facts of a run, as its nodes take them from the catalog (`run_info`); imports no MLflow, which takes 2 s."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from pinet_kedro.tracking.config import Tracking


@dataclass(frozen=True)
class MlflowRun:
    """A run on a tracking server, to record in or to open runs inside it; workers in other processes take it as well.

    `uri` is the address as MLflow takes it: a database file with its absolute path.
    """

    uri: str
    experiment_id: str
    run_id: str


@dataclass(frozen=True)
class RunInfo:
    """A `kedro run`: what is run, in which environment, by which code, and where it is recorded.

    `name` is what people read first, such as 'full · sasrec · seed 1'; the pipeline where it is empty. `mlflow` is None
    where nothing records the run, such as in a test of single nodes.
    """

    pipeline: str
    environment: str
    git: str
    tracking: Tracking
    mlflow: MlflowRun | None = None
    name: str = ""

    @property
    def mlflow_id(self) -> str | None:
        """Id of the MLflow run, if there is one."""
        return self.mlflow.run_id if self.mlflow else None

    @property
    def facts(self) -> dict[str, str | None]:
        """What a page says of the run: date, version of this project, start of the commit, id of the MLflow run."""
        commit = re.sub(r"(?<=^[0-9a-f]{8})[0-9a-f]{32}", "", self.git)
        date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        return {"date": date, "version": version("pinet-kedro"), "git": commit, "MLflow run": self.mlflow_id}

    @property
    def registration(self) -> str:
        """The command that registers the stored model of this run once more."""
        return f"kedro run --pipeline=registration --env={self.environment}"
