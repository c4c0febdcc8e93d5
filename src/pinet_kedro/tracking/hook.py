"""One MLflow run for one Kedro run: opened with the first work; it records the datasets that the catalog marks."""

import time
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from pinet_kedro.errors import NothingToDo
from pinet_kedro.project import written_since
from pinet_kedro.provenance import git_state
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import (
    end_run,
    log_data_docs,
    log_decision,
    log_evaluation,
    log_figure,
    log_page,
)
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.tracking.runs import name_of, start_run

RUN_INFO = "run_info"
_DATA_DOCS = ("validation_results", "retraining.validation_results")


class TrackingHook:
    """Opens the run as the dataset `run_info`, records datasets, and closes the run.

    A dataset whose catalog entry has `metadata: {mlflow: …}` is recorded when the run makes it, or takes it from an
    earlier run: an `evaluation` or a `decision` as metrics, a `page` as a file, a `figure` on a page of figures. The
    Data Docs that the gates have written meanwhile are recorded whether the data passed or not.
    """

    def __init__(self) -> None:
        self._run: RunInfo | None = None
        self._stored: set[str] = set()
        self._began = 0.0

    def open(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Opens the run; refuses where it could not be recorded."""
        self._began = time.time()
        parameters = catalog.load("parameters")
        name = "+".join(run_params["pipeline_names"] or ["full"])
        what = " · ".join([name, *(run_params["namespaces"] or [])])  # a task of Airflow is one stage
        info = RunInfo(
            pipeline=name,
            environment=run_params["env"] or "local",
            git=git_state(),
            tracking=Tracking.model_validate(parameters.get("tracking", {})),
            name=name_of(what, parameters, trains="params:backbone_training" in pipeline.inputs()),
        )
        self._run = start_run(info, parameters)
        self._stored = pipeline.inputs()
        catalog.save(RUN_INFO, self._run)

    @hook_impl
    def after_node_run(self, catalog: CatalogProtocol, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Records what the node made, and what it took from an earlier run."""
        if self._run is None or self._run.mlflow is None:
            return
        taken = {name: value for name, value in inputs.items() if name in self._stored}
        self._stored = self._stored - taken.keys()
        for name, value in (taken | outputs).items():
            dataset = catalog.get(name)
            if kind := (getattr(dataset, "metadata", None) or {}).get("mlflow"):
                _record(self._run, kind, dataset._filepath.stem, value)  # type: ignore[union-attr]

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Closes the run."""
        self._end(catalog, "FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception, catalog: CatalogProtocol) -> None:
        """Closes the run as failed."""
        if isinstance(error, NothingToDo):
            self._end(catalog, "FINISHED", str(error))
        else:
            self._end(catalog, "FAILED", f"{type(error).__name__}: {error}")

    def _end(self, catalog: CatalogProtocol, status: str, reason: str | None = None) -> None:
        if self._run is not None:
            if self._run.mlflow is not None:
                for name in filter(catalog.__contains__, _DATA_DOCS):
                    index = Path(catalog.get(name)._filepath, "index.html")  # type: ignore[union-attr]
                    if written_since(index, self._began):
                        log_data_docs(self._run.mlflow, index.parent)
            end_run(self._run, status, reason)
        self._run = None


def _record(info: RunInfo, kind: str, name: str, value: Any) -> None:
    run = info.mlflow
    assert run is not None
    match kind:
        case "evaluation":
            log_evaluation(run, value)
        case "decision":
            log_decision(info, value)
        case "page":
            log_page(run, name, value)
        case "figure":
            log_figure(run, name, value)
        case _:
            raise ValueError(f"metadata mlflow: '{kind}' of a dataset is none of evaluation, decision, page, figure")
