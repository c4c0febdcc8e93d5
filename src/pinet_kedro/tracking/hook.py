"""One MLflow run for one Kedro run."""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking


class TrackingHook:
    """One MLflow run for one Kedro run."""

    def __init__(self) -> None:
        self._outputs: set[str] = set()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Opens the run."""
        self._outputs = pipeline.all_outputs()
        parameters = catalog.load("parameters")
        config = Tracking.model_validate(parameters["tracking"]) if "tracking" in parameters else Tracking()
        names = "+".join(run_params["pipeline_names"] or ["full"])
        tracking.start_run(config, parameters, {"pipeline": names, "environment": run_params["env"] or "local"})

    @hook_impl
    def after_node_run(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:  # noqa: ARG002
        """Logs what a node made, by the name of the dataset."""
        if "registered_version" in outputs and "evaluation" not in self._outputs:
            tracking.log_evaluation(inputs["evaluation"])  # stored by an earlier run
            tracking.log_report(inputs["report"])
        for name, value in outputs.items():
            if name == "evaluation":
                tracking.log_evaluation(value)
            elif name == "report":
                tracking.log_report(value)
            elif name == "tuning_page":
                tracking.log_report(value, "tuning")
            elif name.endswith("_figure"):
                tracking.log_figure(name.removesuffix("_figure"), value)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Closes the run."""
        tracking.end_run("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Closes the run as failed."""
        tracking.end_run("FAILED", f"{type(error).__name__}: {error}")
