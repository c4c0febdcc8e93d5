"""The project's own commands: `kedro run`, whose errors are sentences and not tracebacks, and those of a model's life.

Exit codes of a promotion: 0 promoted, 3 refused, 1 error, 2 wrong usage.
"""

import functools
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError
from kedro.framework.project import pipelines
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.utils import load_obj
from kedro.validation.exceptions import DataValidationError, ParameterValidationError
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pinet_kedro import __version__
from pinet_kedro.configuration import did_you_mean
from pinet_kedro.errors import REFUSED_EXIT, InputError, NothingToDo
from pinet_kedro.printable import printable


@click.group(name="pinet_kedro", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", prog_name="pinet-kedro")
def cli() -> None:
    """Commands of this project."""


def _cause(error: BaseException) -> BaseException:
    """The error in the chain that was written for the user, or the error itself."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, InputError | DataValidationError):
            return link
        link = link.__cause__ or link.__context__
    return error


@contextmanager
def _sentences() -> Iterator[None]:
    """Turns the errors that a user can do something about into one sentence and exit code 1."""
    try:
        yield
    except NothingToDo as reason:
        _say(reason)
    except Exception as error:
        cause = _cause(error)
        if _of_memory(cause):
            raise click.ClickException(
                f"The memory was not enough ({(str(cause) or 'MemoryError').splitlines()[0]}). Lower what takes most "
                "of it: backbone_training.backbone.width and max_length, backbone_training.schedule.batch_users, "
                "plugin_training.rank and the numbers of candidates and factors."
            ) from error
        known = (InputError, DatasetError, ParameterValidationError, ArithmeticError)
        if not isinstance(cause, known):
            raise  # a defect of ours: the traceback is what helps
        raise click.ClickException(printable(str(cause))) from error


def _say(text: object) -> None:
    click.echo(printable(str(text)))


def _of_memory(error: BaseException) -> bool:
    """Whether numpy or torch, which has no exception of its own on a CPU, got no memory."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error))


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(**options: Any) -> Any:
    # Kedro 1.7 deprecates --pipeline for --pipelines; both are fine here.
    warnings.filterwarnings("ignore", message="Option '--pipeline'", category=KedroDeprecationWarning)
    with _sentences():
        _check_selection(options)
        outputs = kedro_run.callback(**options)  # type: ignore[misc]
        if "promotion" in outputs:
            _end_with(outputs["promotion"].load())
        if "retraining" in outputs:
            _end_with(outputs["retraining"].load()["promotion"])
        return outputs


def _end_with(promotion: dict[str, Any]) -> None:
    from pinet_kedro.registry.console import show_decision
    from pinet_kedro.registry.decision import Decision

    decision = Decision.model_validate(promotion)
    show_decision(decision)
    if not decision.promoted:
        click.get_current_context().exit(REFUSED_EXIT)


# Options of `kedro run` that select nodes, with the argument of `Pipeline.filter` that they become.
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
        "namespaces": {node.namespace for node in chosen.nodes if node.namespace},
    }
    kinds |= {"to_nodes": kinds["from_nodes"], "node_names": kinds["from_nodes"], "to_outputs": kinds["from_inputs"]}
    for option in _SELECTIONS:
        for name in options[option]:
            if name not in kinds[option]:
                said = option.removesuffix("_names").replace("_", "-") + ("s" if option == "node_names" else "")
                raise InputError(
                    f"--{said}={name}: the pipeline has no such name; {did_you_mean(name, kinds[option])}there are "
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
    """Kedro's options, of which those that it cannot read are wrong usage (exit code 2) and no defect."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        try:
            return super().parse_args(context, arguments)
        except KedroCliError as error:
            raise click.UsageError(error.message, context) from error
        except (OmegaConfBaseException, YAMLError, ValueError, KeyError, OSError) as error:
            raise click.UsageError(
                f"--params or --config cannot be read: {str(error).splitlines()[0]}. Parameters are written "
                "name=value,section.name=value, with values as in YAML: one that begins with a sign such as % "
                "stands in quotation marks, as in timestamp_unit='%d/%m/%Y'.",
                context,
            ) from error


run = _Run("run", callback=_run, params=kedro_run.params, help=kedro_run.help, short_help="Run a pipeline.")
cli.add_command(run)

_env = click.option("--env", "-e", help="Kedro environment.")


@cli.command()
@click.argument("version", type=int, required=False)
@_env
@click.option("--force", is_flag=True, help="Promote whatever the gates say.")
@click.option("--reason", help="Why it is forced; kept with the version.")
@click.pass_context
def promote(context: click.Context, version: int | None, env: str | None, force: bool, reason: str | None) -> None:
    """Make VERSION (default: the challenger) the champion, if it passes the gates.

    They stand in conf/base/parameters_promotion.yml.

    Exit code 0: promoted, 3: refused, 1: error.
    """
    if force != bool(reason):
        raise click.UsageError('--force and --reason "…" go together.')
    settings = {"version": version, "force": reason}
    with run.make_context("run", ["--pipeline=promotion"], parent=context) as running:
        running.params["env"] = env
        running.params["params"] = {"promotion": {key: value for key, value in settings.items() if value is not None}}
        run.invoke(running)


@cli.command()
@_env
@click.option("--reason", default="not given", help="Why; kept with the version that is rolled back.")
def rollback(env: str | None, reason: str) -> None:
    """Make the version with the alias 'previous' the champion again."""
    with _sentences():
        from pinet_kedro.registry.promotion import roll_back
        from pinet_kedro.tracking.server import sentence

        registry = _registry(env)
        again = "Do it again when the server answers: that also finishes or undoes a move that had begun."
        with sentence(registry.uri, again):
            bad, good = roll_back(registry, reason)
        _say(f"Rolled back: {registry.model} version {good} is the champion again, in place of version {bad}.")


@cli.command()
@_env
def models(env: str | None) -> None:
    """List the registered versions with their figures, aliases and decisions."""
    with _sentences():
        from pinet_kedro.registry.console import show_versions
        from pinet_kedro.registry.promotion import list_versions
        from pinet_kedro.tracking.server import sentence

        registry = _registry(env)
        with sentence(registry.uri, "Nothing can be listed."):
            versions = list_versions(registry)
        show_versions(registry.model, versions)


@cli.command()
@click.argument("version", type=int)
@_env
def trust(version: int, env: str | None) -> None:
    """Store the digest of the files of VERSION as they are now, for a version without one.

    Versions of earlier releases have none, and nothing of them is run before: look at their files first.
    """
    with _sentences():
        from pinet_kedro.registry.versions import find_version, trust_version
        from pinet_kedro.tracking.server import sentence

        registry = _registry(env)
        with sentence(registry.uri, "Nothing has changed."):
            stored = trust_version(find_version(str(version), registry), registry)
        if stored is None:
            click.echo(f"Version {version} has a digest already, and its files are the registered ones.")
        else:
            digest, files = stored
            click.echo(f"Trusted: {registry.model} version {version}, {files} files, sha256 {digest}.")


@cli.command()
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_env
def fetch(version: str, folder: Path, env: str | None) -> None:
    """Put the files of VERSION, an alias or a number, into the new FOLDER, checked: for mlflow.pyfunc.load_model."""
    with _sentences():
        from pinet_kedro.registry.versions import fetch_version, find_version
        from pinet_kedro.tracking.server import sentence

        if folder.exists():
            raise InputError(f"{folder} is there already: name a folder that is not.")
        registry = _registry(env)
        with sentence(registry.uri, "Nothing has been fetched."), TemporaryDirectory() as temporary:
            found = find_version(version, registry)
            shutil.move(fetch_version(found, registry, Path(temporary)), folder)
        click.echo(f"Fetched: {registry.model} version {found}, as it was registered, to {folder}.")


@cli.command()
@_env
@click.option(
    "--every", type=click.Choice(["day", "week", "month", "quarter", "year"]), default="month", show_default=True
)
@click.option("--limit", type=click.IntRange(1), help="At most so many periods.")
@click.option("--params", help="For every run, as `kedro run` takes them.")
def replay(env: str | None, every: str, limit: int | None, params: str | None) -> None:
    """Play the environment's log back through retraining, period by period, in a sandbox (data/replay)."""
    with _sentences():
        from pinet_kedro.retraining import replay as replaying

        rows = replaying.replay(replaying.Replay(env, every, limit, params))
        _say(replaying.summary(rows))


@cli.command()
@_env
@click.option("--once", is_flag=True, help="Run now, once, and end with the run's exit code.")
@click.option("--dry-run", is_flag=True, help="Say what would run at which next times, and end.")
def schedule(env: str | None, once: bool, dry_run: bool) -> None:
    """Run the pipeline of conf/base/parameters_schedule.yml at its times, until SIGTERM or Ctrl-C."""
    from pinet_kedro.scheduling import schedule as scheduling

    with _sentences():
        config = scheduling.load_schedule(env)
    runs = scheduling.Runs(config, [sys.executable, "-m", "pinet_kedro", *scheduling.run_arguments(config, env)])
    if dry_run:
        scheduling.show(config, env)
    elif once:
        click.get_current_context().exit(scheduling.run_once(runs))
    else:
        scheduling.run_forever(runs)


@cli.command()
@_env
@click.option("--host", help="Address to answer on (default: this machine alone).")
@click.option("--port", type=int, help="Port to answer on; 0 takes any that is free.")
@click.option("--version", help="Alias or number of the version (default: champion).")
@click.option("--workers", type=int, help="Processes that answer.")
def serve(env: str | None, **given: Any) -> None:
    """Answer requests for recommendations over HTTP with the champion, until Ctrl-C or SIGTERM.

    Limits and defaults stand in conf/base/parameters_serving.yml. A champion that moves is followed without a restart.
    """
    with _sentences():
        from pinet_kedro.project import parameters_of
        from pinet_kedro.serving.config import Serving

        chosen = {name: value for name, value in given.items() if value is not None}
        config, registry = parameters_of("serving", Serving, env, **chosen), _registry(env)
        from pinet_kedro.serving.supervisor import serve
        from pinet_kedro.tracking.server import sentence

        with sentence(
            registry.uri, "Nothing is served: a version is fetched from there once, and then needs it no more."
        ):
            serve(config, registry)


def _registry(env: str | None) -> Any:
    from pinet_kedro.project import parameters_of
    from pinet_kedro.tracking.config import Tracking

    return parameters_of("tracking", Tracking, env)
