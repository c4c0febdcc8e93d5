"""What happens around a run: wrong parameters are refused, results are tracked, the last lines are said."""

import difflib
import logging
import os
from pathlib import Path
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from pinet_kedro.errors import InputError
from pinet_kedro.operations.registry import tracking
from pinet_kedro.operations.registry.config import Tracking
from pinet_kedro.operations.scheduling.config import Schedule
from pinet_kedro.operations.suites import check_gates

log = logging.getLogger("pinet_kedro")

# What `conf/csv` reads from the command line.
_DATA_PARAMETERS = {"filepath", "user", "item", "timestamp", "rating", "timestamp_unit"}


# Outputs of nodes that the last lines are made of.
_TOLD = {
    "evaluation", "registered_version", "pin_model", "gradient_noise_figure", "recommendations",
    "tuning", "tuning_finalists", "tuning_choice",
}  # fmt: skip


class InputGuard:
    """Refuses what can be seen to be wrong before any work is done."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """A parameter that nothing reads is a typing error, not a wish."""
        loader = context.config_loader
        given = loader.runtime_params or {}
        plain_loader = type(loader)(str(loader.conf_source), env=context.env, **settings.CONFIG_LOADER_ARGS)
        declared = set(plain_loader["parameters"]) if given else set()
        known = declared | (_DATA_PARAMETERS if context.env == "csv" else set())
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                data = " It belongs to --env=csv." if name in _DATA_PARAMETERS else ""
                raise InputError(
                    f"--params={name}=…: there is no such parameter.{hint}{data} The parameters are "
                    f"{', '.join(sorted(known))} and what stands under them in conf/base/parameters_*.yml."
                )

    @hook_impl(tryfirst=True)  # before a run is tracked
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """A folder that cannot be written to, or a gate that checks nothing, is found out before the first node."""
        for name in pipeline.all_outputs():
            path = _path(catalog, name)
            if path is None:
                continue
            folder = path.parent
            while not folder.exists():
                folder = folder.parent
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                raise InputError(
                    f"{path} cannot be written: {folder} is {'read-only' if folder.is_dir() else 'not a folder'}. "
                    f"Make it writable, or point '{name}' elsewhere in conf/local/catalog.yml."
                )
        check_gates(pipeline, catalog)


class AirflowConfiguration:
    """Gives `kedro airflow create` the schedule that `kedro schedule` follows, so that there is one."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Puts it where kedro-airflow looks for the values of a template, and only if kedro-airflow is at work."""
        command = click.get_current_context(silent=True)
        if command is not None and "airflow" in command.command_path.split():
            loader = context.config_loader
            schedule = Schedule.model_validate(loader["parameters"].get("schedule", {}))
            loader["airflow"] = {"default": schedule.for_airflow()}


class Narrator:
    """Says which node is at work; Kedro itself reports only those that are done."""

    def __init__(self) -> None:
        self._total = self._done = 0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Counts the nodes."""
        self._total, self._done = len(pipeline.nodes), 0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """One line a node."""
        self._done += 1
        log.info("[%d/%d] %s", self._done, self._total, node.name)


class TrackingHook:
    """One MLflow run for one Kedro run."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Opens the run."""
        self._results = {}
        parameters = catalog.load("parameters")
        config = Tracking.model_validate(parameters["tracking"]) if "tracking" in parameters else Tracking()
        names = "+".join(run_params["pipeline_names"] or ["full"])
        tracking.start_run(config, parameters, {"pipeline": names, "environment": run_params["env"] or "local"})

    @hook_impl
    def after_node_run(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:  # noqa: ARG002
        """Logs what a node made, by the name of the dataset."""
        if "registered_version" in outputs and "evaluation" not in self._results:
            tracking.log_evaluation(inputs["evaluation"])  # stored by an earlier run
            tracking.log_report(inputs["report"])
        for name, value in outputs.items():
            if name in _TOLD:
                self._results[name] = value
            if name == "evaluation":
                tracking.log_evaluation(value)
            elif name == "report":
                tracking.log_report(value)
            elif name == "tuning_page":
                tracking.log_report(value, "tuning")
            elif name.endswith("_figure"):
                tracking.log_figure(name.removesuffix("_figure"), value)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Closes the run and says what was trained, what it is worth, and where everything is."""
        tracking.end_run("FINISHED")
        for line in _last_lines(self._results, pipeline, catalog):
            log.info(line)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Closes the run as failed."""
        tracking.end_run("FAILED", f"{type(error).__name__}: {error}")


def _last_lines(results: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> list[str]:
    lines = []
    if (pin := results.get("pin_model")) is not None:
        plugins = ", ".join(pin.plugins.choice)
        lines.append(f"Trained: {pin.backbone.config.name}, plugins of the strata ({plugins})")
    if "evaluation" in results:
        from pinet_kedro.evaluation.report import summary_lines

        lines += summary_lines(results["evaluation"])
    if version := results.get("registered_version"):
        lines.append(f"Registered: {version['model']} version {version['version']} as '{version['alias']}'")
    if (noise := results.get("gradient_noise_figure")) is not None:
        lines.append(f"{noise.layout.title.text}.")
    if (recommendations := results.get("recommendations")) is not None:
        lines.append(
            "Recommendations of version {model_version} for {users:,} users, {users_without_history:,} of them "
            "without a history that it knows; {skipped_events:,} events with {unknown_items:,} items unknown "
            "to it were skipped: {path}".format(**recommendations.summary, path=_path(catalog, "recommendations"))
        )
    if "tuning_choice" in results:
        from pinet_kedro.operations.tuning.page import summary_lines as tuning_lines

        lines += tuning_lines(results["tuning"], results["tuning_finalists"], results["tuning_choice"])
        lines.append(f"Written: {_path(catalog, 'tuned_parameters')}; use it: kedro run --pipeline=full --env=tuned")
        lines.append(f"Page: {_path(catalog, 'tuning_page')}")
    outputs = pipeline.all_outputs()
    if "report" in outputs:
        lines.append(f"Report: {_path(catalog, 'report')}")
    elif not lines:
        written = sorted(os.path.relpath(path) for name in outputs if (path := _path(catalog, name)))
        lines.append(f"Written: {', '.join(written)}")
    if "clean_events" in outputs:
        from pinet_kedro.operations.expectations import data_docs_index

        lines.append(f"Data Docs: {data_docs_index()}")
    if "gradient_noise" in outputs:
        places = [_path(catalog, f"gradient_noise{end}") for end in ("", "_pairs", "_figure")]
        lines.append("Gradient noise of the strata: {}, of their pairs: {}, figure: {}".format(*places))
    return lines


def _path(catalog: CatalogProtocol, name: str) -> Path | None:
    """Where a dataset is stored; None for one in memory."""
    path = getattr(catalog.get(name), "_filepath", None) if name in catalog else None
    return Path(path) if path else None
