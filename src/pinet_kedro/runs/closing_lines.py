"""What a run logs of itself: the node at work, the results at the end, and after a failure how to go on."""

import logging
import os
import time
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from pinet_kedro.errors import NothingToDo
from pinet_kedro.project import written_since
from pinet_kedro.reporting.text import plural
from pinet_kedro.runs.command_line import run_command
from pinet_kedro.runs.paths import stored_path

log = logging.getLogger("pinet_kedro")

# Datasets that the closing lines summarise.
_SUMMARISED = {
    "evaluation", "registered_version", "pin_model", "gradient_noise_figure", "recommendations",
    "tuning", "tuning_finalists", "tuning_choice", "feedback",
}  # fmt: skip
# Pipelines whose nodes go on where an earlier run of them has ended.
_KEEPS = {"benchmark": "Models that were finished are stored.", "tuning": "Trials that were finished are stored."}


class ClosingLines:
    """Logs every node, what the run has made, and after a failure or a signal how to go on.

    It keeps no record of finished nodes: `ParallelRunner` runs nodes, and their hooks, in other processes.
    """

    def __init__(self) -> None:
        self._place: dict[str, str] = {}
        self._began = 0.0
        self._at_work: tuple[dict[str, Any], Pipeline, CatalogProtocol] | None = None

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Numbers the nodes."""
        self._at_work = run_params, pipeline, catalog
        self._place = {node.name: f"[{n}/{len(pipeline.nodes)}]" for n, node in enumerate(pipeline.nodes, 1)}
        self._began = time.time()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """One line a node."""
        log.info("%s %s", self._place.get(node.name, "Node"), node.name)

    @hook_impl(trylast=True)  # after what has been recorded, or has not been
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Logs what was trained, its results, and where everything is."""
        self._at_work = None
        written = {name for name in pipeline.all_outputs() if _is_written(catalog, name, self._began)}
        results = {short: _result_of(catalog, name) for name in written if (short := _short(name)) in _SUMMARISED}
        for line in _last_lines(results, pipeline, catalog):
            log.info(line)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Logs which node has failed; the command line prints why."""
        if not isinstance(error, NothingToDo):
            log.error("%s failed", node.name)

    @hook_impl(trylast=True)
    def on_pipeline_error(
        self, error: Exception, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Logs what is stored, and the command that goes on from there."""
        self._at_work = None
        if not isinstance(error, NothingToDo):
            log.warning(_how_to_go_on("When the cause is removed, ", run_params, pipeline, catalog, self._began))

    def after_stop(self) -> None:
        """Logs the same after a signal."""
        if self._at_work is not None:
            log.warning(_how_to_go_on("", *self._at_work, self._began))


def _last_lines(results: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> list[str]:
    lines = []
    if (pin := results.get("pin_model")) is not None:
        plugins = ", ".join(pin["plugins"]["choice"])
        lines.append(f"Trained: {pin['backbone']['name']}; plugins of the strata, least active users first: {plugins}")
    if "evaluation" in results:
        from pinet_kedro.reporting.statements import summary_lines

        lines += summary_lines(results["evaluation"])
    if version := results.get("registered_version"):
        lines.append(_registered(version))
    if (noise := results.get("gradient_noise_figure")) is not None:
        lines.append(f"{noise.layout.meta['statement']}.")
    if (recommendations := results.get("recommendations")) is not None:
        known = "new_users" in recommendations  # not of a version without a record of its users
        changes = " ({new_users:,} new; {missing_users:,} of the version's users are missing)" if known else ""
        lines.append(
            f"Recommendations of version {{model_version}} for {{of_users}}{changes}, "
            "{users_without_history:,} of them without a history that it knows; skipped were {of_events} with "
            "{of_items} unknown to it: {path}".format(
                **recommendations,
                of_users=plural(recommendations["users"], "user"),
                of_events=plural(recommendations["skipped_events"], "event"),
                of_items=plural(recommendations["unknown_items"], "item"),
                path=stored_path(catalog, "recommendations"),
            )
        )
    if "feedback" in results:
        lines += results["feedback"].sentences()
        lines.append(f"Page: {stored_path(catalog, 'feedback_page')}")
    if "tuning_choice" in results:
        from pinet_kedro.studies.tuning.results import summary_lines as tuning_lines

        lines += tuning_lines(results["tuning"], results["tuning_finalists"], results["tuning_choice"])
        lines.append(
            f"Written: {stored_path(catalog, 'tuned_parameters')}; use it: kedro run --pipeline=full --env=tuned"
        )
        lines.append(f"Page: {stored_path(catalog, 'tuning_page')}")
    outputs = {_short(name): name for name in pipeline.all_outputs()}
    if "report" in outputs:
        lines.append(f"Report: {stored_path(catalog, outputs['report'])}")
    elif not lines:
        written = sorted(os.path.relpath(path) for name in outputs.values() if (path := stored_path(catalog, name)))
        lines.append(f"Written: {', '.join(written)}")
    if (events := outputs.get("clean_events")) is not None:
        pages = stored_path(catalog, events.replace("clean_events", "validation_results"))
        lines.append(f"Data Docs: {pages}/index.html")
    if "gradient_noise" in outputs:
        places = [stored_path(catalog, f"gradient_noise{end}") for end in ("", "_pairs", "_figure")]
        lines.append("Gradient noise of the strata: {}, of their pairs: {}, figure: {}".format(*places))
    return lines


def _registered(version: dict[str, Any]) -> str:
    named = f"{version['model']} version {version['version']}"
    if version.get("registered_before"):
        return f"Registered before: {named} has the same weights, data and code; it is the '{version['alias']}'"
    return f"Registered: {named} as '{version['alias']}'"


def _short(name: str) -> str:
    """The name of a dataset without its namespace."""
    return name.rpartition(".")[2]


def _result_of(catalog: CatalogProtocol, name: str) -> Any:
    """A stored result, or its summary where the whole is large."""
    summary = getattr(catalog.get(name), "summary", None)
    return summary() if summary else catalog.load(name)


def _is_written(catalog: CatalogProtocol, name: str, since: float) -> bool:
    """Whether a dataset has been stored since this moment (seconds since 1970)."""
    path = stored_path(catalog, name)
    return path is not None and written_since(path, since)


def _how_to_go_on(when: str, run: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol, began: float) -> str:
    """What a run that has not come to its end has stored, and the command that continues it."""
    # Kedro's own advice, which conf/logging.yml silences, is built on this function; there is no public one.
    from kedro.runner.runner import _find_nodes_to_resume_from

    # A node whose results are only in memory is not done: the next run needs it once more.
    outputs = {node: [name for name in node.outputs if stored_path(catalog, name)] for node in pipeline.nodes}
    done = {node for node, names in outputs.items() if names and all(_is_written(catalog, n, began) for n in names)}
    names = [node.name for node in pipeline.nodes if node in done]
    stored = f"Stored in data/: the results of {', '.join(names)}." if names else "This run has stored nothing."
    kept = [_KEEPS[name] for name in run["pipeline_names"] or () if name in _KEEPS]
    start = _find_nodes_to_resume_from(pipeline, set(pipeline.nodes) - done, catalog)
    if "retraining" in (run["pipeline_names"] or ()):  # only a whole run takes its partitions
        start = set()
    from_the_start = not start or start >= {node.name for node in pipeline.grouped_nodes[0]}
    from_nodes = () if from_the_start else sorted(start)
    command = run_command(
        run["pipeline_names"],
        run["env"] if run["env"] != settings.CONFIG_LOADER_ARGS["default_run_env"] else None,
        run["runtime_params"],
        from_nodes=from_nodes or run["from_nodes"],
        from_inputs=None if from_nodes else run["from_inputs"],
        **{name: run[name] for name in ("to_nodes", "to_outputs", "tags", "namespaces")},
        nodes=run["node_names"],
    )
    advice = f"{when}{'begin again' if from_the_start and not kept else 'go on'} with: {command}"
    return f"{' '.join(kept) or stored} {advice[0].upper()}{advice[1:]}"
