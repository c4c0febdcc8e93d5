"""What happens around a run: wrong parameters are refused, results are tracked, the last lines are said."""

import logging
import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from pinet_kedro.configuration import did_you_mean
from pinet_kedro.datasets.files import RecommenderDataset, StreamedParquetDataset
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.runs.loader import DATA_PARAMETERS, ConfigurationLoader
from pinet_kedro.runs.sections import check_sections
from pinet_kedro.scheduling.config import RunSchedule
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.memory import backbone_needs, check_memory, plugin_needs, state_space_need
from pinet_kedro.validation.suites import check_gates

log = logging.getLogger("pinet_kedro")

# Datasets that the last lines are made of.
_TOLD = {
    "evaluation", "registered_version", "pin_model", "gradient_noise_figure", "recommendations",
    "tuning", "tuning_finalists", "tuning_choice",
}  # fmt: skip


class InputGuard:
    """Refuses what can be seen to be wrong before any work is done."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """A parameter that nothing reads is a typing error, not a wish; and one that is read must be possible."""
        loader = context.config_loader
        assert isinstance(loader, ConfigurationLoader)
        declared = set(loader.declared("parameters"))
        known = declared | (set(DATA_PARAMETERS) if context.env == "csv" else set())
        for name in loader.runtime_params or {}:
            if name not in known:
                data = "it belongs to --env=csv; " if name in DATA_PARAMETERS else ""
                raise InputError(
                    f"--params={name}=…: there is no such parameter; {did_you_mean(name, known)}{data}the parameters "
                    f"are {', '.join(sorted(known))} and what stands under them in conf/base/parameters_*.yml."
                )
        loader.check_environment()
        check_sections(loader["parameters"])

    @hook_impl(tryfirst=True)  # before a run is tracked
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """What cannot work is found out before the first node, not after the last."""
        _check_inputs(pipeline, catalog)
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


def _check_inputs(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Parameters that are right one by one, but not together, or not on this machine."""
    names = {name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:")}
    for name in sorted(names):
        if f"params:{name}" not in catalog:
            raise InputError(f"conf/base/parameters_*.yml has no section '{name}', which the pipeline reads.")
    settings = {name: catalog.load(f"params:{name}") for name in names}
    if "backbone_training" in settings:
        training: BackboneTraining = settings["backbone_training"]
        if training.device != "cpu":
            from pinet_kedro.training.devices import find_device  # torch takes 1.5 s

            find_device(training.device)
        else:
            check_memory(backbone_needs(training))
    if "plugin_training" in settings:
        plugins: PluginTraining = settings["plugin_training"]
        width = settings["backbone_training"].backbone.width if "backbone_training" in settings else 1
        check_memory([*plugin_needs(plugins), *state_space_need(plugins, width)])
    if {"benchmark", "backbone_training", "plugin_training"} <= names:
        from pinet_kedro.studies.benchmark.bench import cells, check_reference

        check_reference(settings["benchmark"])
        for cell in cells(settings["benchmark"], training, plugins):
            check_memory(backbone_needs(cell.training), settings["benchmark"].workers)
    if {"tuning", "backbone_training", "plugin_training"} <= names:
        from pinet_kedro.studies.tuning.space import build_space

        build_space(settings["tuning"].space, training, plugins, settings["tuning"].joint)
        check_memory(backbone_needs(training), settings["tuning"].workers)


class AirflowConfiguration:
    """Gives `kedro airflow create` the schedule that `kedro schedule` follows, so that there is one."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Puts it where kedro-airflow looks for the values of a template, and only if kedro-airflow is at work."""
        command = click.get_current_context(silent=True)
        if command is not None and "airflow" in command.command_path.split():
            loader = context.config_loader
            schedule = RunSchedule.model_validate(loader["parameters"].get("schedule", {}))
            loader["airflow"] = {"default": schedule.for_airflow()}


class Narrator:
    """Says which node is at work, what a run has made, and after a failure how to go on.

    Nothing is remembered of the nodes: `ParallelRunner` runs them, and their hooks, in other processes.
    """

    def __init__(self) -> None:
        self._place: dict[str, str] = {}
        self._began = 0.0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Numbers the nodes."""
        self._place = {node.name: f"[{n}/{len(pipeline.nodes)}]" for n, node in enumerate(pipeline.nodes, 1)}
        self._began = time.time()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """One line a node."""
        log.info("%s %s", self._place.get(node.name, "Node"), node.name)

    @hook_impl(trylast=True)  # after what has been recorded, or has not been
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """What was trained, what it is worth, and where everything is."""
        written = {name for name in pipeline.all_outputs() if _is_written(catalog, name, self._began)}
        for line in _last_lines({name: _told(catalog, name) for name in written & _TOLD}, pipeline, catalog):
            log.info(line)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """What is stored, and the command that goes on from there."""
        stored = {node: [name for name in node.outputs if _path(catalog, name)] for node in pipeline.nodes}
        # A node whose results are in memory alone is not done: whoever goes on needs it once more.
        done = {
            node
            for node, names in stored.items()
            if names and all(_is_written(catalog, name, self._began) for name in names)
        }
        log.warning(_how_to_go_on(run_params, pipeline, done, catalog))


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


def _last_lines(results: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> list[str]:
    lines = []
    if (pin := results.get("pin_model")) is not None:
        plugins = ", ".join(pin["plugins"]["choice"])
        lines.append(f"Trained: {pin['backbone']['name']}, plugins of the strata ({plugins})")
    if "evaluation" in results:
        from pinet_kedro.reporting.statements import summary_lines

        lines += summary_lines(results["evaluation"])
    if version := results.get("registered_version"):
        lines.append(f"Registered: {version['model']} version {version['version']} as '{version['alias']}'")
    if (noise := results.get("gradient_noise_figure")) is not None:
        lines.append(f"{noise.layout.title.text}.")
    if (recommendations := results.get("recommendations")) is not None:
        lines.append(
            "Recommendations of version {model_version} for {users:,} users, {users_without_history:,} of them "
            "without a history that it knows; {skipped_events:,} events with {unknown_items:,} items unknown "
            "to it were skipped: {path}".format(**recommendations, path=_path(catalog, "recommendations"))
        )
    if "tuning_choice" in results:
        from pinet_kedro.studies.tuning.page import summary_lines as tuning_lines

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
        from pinet_kedro.validation.data_docs import data_docs_index

        lines.append(f"Data Docs: {data_docs_index()}")
    if "gradient_noise" in outputs:
        places = [_path(catalog, f"gradient_noise{end}") for end in ("", "_pairs", "_figure")]
        lines.append("Gradient noise of the strata: {}, of their pairs: {}, figure: {}".format(*places))
    return lines


def _told(catalog: CatalogProtocol, name: str) -> Any:
    """A stored result, or its summary where the whole is large."""
    dataset = catalog.get(name)
    return dataset.summary() if isinstance(dataset, RecommenderDataset | StreamedParquetDataset) else catalog.load(name)


def _is_written(catalog: CatalogProtocol, name: str, since: float) -> bool:
    """Whether a dataset has been stored since this moment (seconds since 1970)."""
    path = _path(catalog, name)
    # The clock of files may be some milliseconds behind.
    return path is not None and path.exists() and path.stat().st_mtime > since - 0.05


def _how_to_go_on(run: dict[str, Any], pipeline: Pipeline, done: set[Node], catalog: CatalogProtocol) -> str:
    """In a sentence or two: what a run that failed has stored, and the command that takes it up."""
    # Kedro's own advice, which we silence in conf/logging.yml, is built on it; no public function says it.
    from kedro.runner.runner import _find_nodes_to_resume_from

    names = [node.name for node in pipeline.nodes if node in done]
    stored = f"Stored in data/: the results of {', '.join(names)}." if names else "This run has stored nothing."
    start = _find_nodes_to_resume_from(pipeline, set(pipeline.nodes) - done, catalog)
    if "retraining" in (run["pipeline_names"] or ()):  # its partitions count as taken by a whole round alone
        start = set()
    from_the_start = not start or start >= {node.name for node in pipeline.grouped_nodes[0]}
    command = _command(run, () if from_the_start else sorted(start))
    return f"{stored} When the cause is removed, {'begin again' if from_the_start else 'go on'} with: {command}"


def _command(run: dict[str, Any], from_nodes: Iterable[str]) -> str:
    """The command line of a run, from these nodes on."""
    given: dict[str, Any] = {
        "pipelines": run["pipeline_names"],
        "env": run["env"] if run["env"] != settings.CONFIG_LOADER_ARGS["default_run_env"] else None,
        "from-nodes": from_nodes or run["from_nodes"],
        "from-inputs": None if from_nodes else run["from_inputs"],
        **{name: run[name.replace("-", "_")] for name in ("to-nodes", "to-outputs", "tags", "namespaces")},
        "nodes": run["node_names"],
        "params": [f"{key}={value}" for key, value in flat(run["runtime_params"]).items()],
    }
    listed = {name: value if isinstance(value, str) else ",".join(value) for name, value in given.items() if value}
    if "pipelines" in listed and "," not in listed["pipelines"]:
        listed = {"pipeline": listed.pop("pipelines"), **listed}
    return shlex.join(["kedro", "run", *(f"--{name}={value}" for name, value in listed.items())])


def _path(catalog: CatalogProtocol, name: str) -> Path | None:
    """Where a dataset is stored; None for one in memory."""
    path = getattr(catalog.get(name), "_filepath", None) if name in catalog else None
    return Path(path) if path else None
