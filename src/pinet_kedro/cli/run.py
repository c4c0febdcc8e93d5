"""`kedro run`, with checked options, errors as sentences, and the exit code of a promotion."""

import copy
import functools
import logging
import warnings
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.project import pipelines, settings
from kedro.pipeline import Pipeline
from kedro.utils import load_obj
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pinet_kedro.cli.errors import sentences
from pinet_kedro.configuration import did_you_mean
from pinet_kedro.errors import REFUSED_EXIT, InputError
from pinet_kedro.processes.stopping import StoppedError
from pinet_kedro.promotion.console import show_decision
from pinet_kedro.promotion.decision import Decision
from pinet_kedro.runs.closing_lines import ClosingLines

log = logging.getLogger("pinet_kedro")


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(**options: Any) -> Any:
    named = options["pipelines"] or [options["pipeline"] or "full"]
    log.info("Starting %s%s", "+".join(named), f", environment {options['env']}" if options["env"] else "")
    with sentences():
        _check_selection(options)
        # Kedro 1.7 deprecates --pipeline in favour of --pipelines; both are supported here. (Here, because modules that
        # the pipelines import set filters of their own.)
        warnings.filterwarnings("ignore", message="Option '--pipeline'", category=KedroDeprecationWarning)
        try:
            outputs = kedro_run.callback(**options)  # type: ignore[misc]
        except (KeyboardInterrupt, StoppedError):
            for hook in settings.HOOKS:  # Kedro calls none of them
                if isinstance(hook, ClosingLines):
                    hook.after_stop()
            raise
        for name in ("promotion", "refresh"):
            if name in outputs:
                _end_with(outputs[name].load())
        if "retraining" in outputs:
            _end_with(outputs["retraining"].load()["promotion"])
        return outputs


def _end_with(promotion: dict[str, Any]) -> None:
    decision = Decision.model_validate(promotion)
    show_decision(decision)
    if not decision.promoted:
        click.get_current_context().exit(REFUSED_EXIT)


# The options of `kedro run` that select nodes, and their arguments of `Pipeline.filter`.
_SELECTIONS = {
    "tags": "tags", "from_nodes": "from_nodes", "to_nodes": "to_nodes", "node_names": "node_names",
    "from_inputs": "from_inputs", "to_outputs": "to_outputs", "namespaces": "node_namespaces",
}  # fmt: skip


def _check_selection(options: dict[str, Any]) -> None:
    """Raises `InputError` for a pipeline, a node, a dataset, a tag or a runner that does not exist."""
    names = [options["pipeline"]] if options["pipeline"] else options["pipelines"]
    for name in names:
        if name not in pipelines:
            known = sorted(set(pipelines) - {"__default__"})
            raise InputError(f"there is no pipeline '{name}'; {did_you_mean(name, known)}there are {', '.join(known)}.")
    chosen = sum((pipelines[name] for name in names or ["__default__"]), start=Pipeline([]))
    kinds = {
        "tags": {tag for node in chosen.nodes for tag in node.tags},
        "from_nodes": {node.name for node in chosen.nodes},
        "from_inputs": chosen.datasets(),
        "namespaces": {prefix for node in chosen.nodes for prefix in node.namespace_prefixes},
    }
    kinds |= {"to_nodes": kinds["from_nodes"], "node_names": kinds["from_nodes"], "to_outputs": kinds["from_inputs"]}
    for option in _SELECTIONS:
        for name in options[option]:
            if name not in kinds[option]:
                flag = option.removesuffix("_names").replace("_", "-") + ("s" if option == "node_names" else "")
                raise InputError(
                    f"--{flag}={name}: the pipeline has no such name; {did_you_mean(name, kinds[option])}there are "
                    f"{', '.join(sorted(kinds[option])) or 'none'}."
                )
    if not chosen.filter(**{argument: options[option] or None for option, argument in _SELECTIONS.items()}).nodes:
        raise InputError("no node is left: the options that select nodes exclude each other.")
    try:
        load_obj(options["runner"] or "SequentialRunner", "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        raise InputError(
            f"--runner={options['runner']}: there is no such runner; there are SequentialRunner, ThreadRunner and "
            "ParallelRunner."
        ) from error


class _Run(click.Command):
    """Kedro's options; values that it cannot read are wrong usage (exit code 2), not a defect."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except KedroCliError as error:
            raise click.UsageError(error.message, context) from error
        except (OmegaConfBaseException, YAMLError, ValueError, KeyError, OSError) as error:
            raise click.UsageError(
                f"--params or --config cannot be read: {str(error).splitlines()[0]}. Parameters are written "
                "name=value,section.name=value, with values as in YAML: a value that begins with a sign such as % "
                "needs quotation marks, as in timestamp_unit='%d/%m/%Y'.",
                context,
            ) from error


def _with_default(option: click.Parameter) -> click.Parameter:
    """The option with its default in `kedro run --help`, where what Kedro does without it is one."""
    defaults = {"pipeline": "full", "runner": "SequentialRunner", "conf_source": "conf"}
    if isinstance(option, click.Option) and option.name in defaults:
        option = copy.copy(option)
        option.show_default = defaults[option.name]
    return option


kedro_run.hidden = True  # the command below takes its place; `kedro --help` would list both
_OPTIONS = list(map(_with_default, kedro_run.params))
run = _Run("run", callback=_run, params=_OPTIONS, help=kedro_run.help, short_help="Run a pipeline.")
