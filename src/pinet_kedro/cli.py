"""The project's own commands: `kedro run`, whose errors are sentences and not tracebacks, and those of a model's life.

Exit codes of a promotion: 0 promoted, 3 refused, 1 error, 2 wrong usage.
"""

import functools
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError, ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from pinet_kedro import __version__
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
        if isinstance(link, InterpolationResolutionError) and (name := re.search(r"variable '(\w+)' not", str(link))):
            return InputError(
                f"The environment variable {name[1]} is not set; the configuration takes a value from it."
            )
        if isinstance(link, MissingConfigException):
            return InputError(
                f"There is no configuration here ({link}). Go to the folder that holds conf/, or unpack the archive of "
                "conf/ that `kedro package` has made beside the wheel."
            )
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
        known = (InputError, DatasetError, ParameterValidationError, ArithmeticError)
        if not isinstance(cause, known) and not str(error).startswith("Failed to find the pipeline"):
            raise  # a defect of ours: the traceback is what helps
        # pydantic ends each complaint with the address of a page about the kind of error.
        message = re.sub(r"\n\s*For further information visit \S+", "", str(cause))
        raise click.ClickException(printable(message)) from error


def _say(text: object) -> None:
    click.echo(printable(str(text)))


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(**options: Any) -> Any:
    # Kedro 1.7 deprecates --pipeline for --pipelines; both are fine here.
    warnings.filterwarnings("ignore", message="Option '--pipeline'", category=KedroDeprecationWarning)
    with _sentences():
        outputs = kedro_run.callback(**options)  # type: ignore[misc]
        if "promotion" in outputs:
            _end_with(outputs["promotion"].load())
        if "retraining" in outputs:
            _end_with(outputs["retraining"].load()["promotion"])
        return outputs


def _end_with(promotion: dict[str, Any]) -> None:
    from pinet_kedro.operations.promotion.console import show_decision
    from pinet_kedro.operations.promotion.decision import Decision

    decision = Decision.model_validate(promotion)
    show_decision(decision)
    if not decision.promoted:
        click.get_current_context().exit(REFUSED_EXIT)


run = click.Command("run", callback=_run, params=kedro_run.params, help=kedro_run.help, short_help="Run a pipeline.")
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
        from pinet_kedro.operations.promotion.promotion import roll_back
        from pinet_kedro.operations.registry.server import sentence

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
        from pinet_kedro.operations.promotion.console import show_versions
        from pinet_kedro.operations.promotion.promotion import list_versions
        from pinet_kedro.operations.registry.server import sentence

        registry = _registry(env)
        with sentence(registry.uri, "Nothing can be listed."):
            versions = list_versions(registry)
        show_versions(registry.model, versions)


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
        from pinet_kedro.operations.retraining import replay as replaying

        rows = replaying.replay(replaying.Replay(env, every, limit, params))
        _say(replaying.summary(rows))


@cli.command()
@_env
@click.option("--once", is_flag=True, help="Run now, once, and end with the run's exit code.")
@click.option("--dry-run", is_flag=True, help="Say what would run at which next times, and end.")
def schedule(env: str | None, once: bool, dry_run: bool) -> None:
    """Run the pipeline of conf/base/parameters_schedule.yml at its times, until SIGTERM or Ctrl-C."""
    from pinet_kedro.operations.scheduling import schedule as scheduling

    with _sentences():
        config = scheduling.configured(env)
    runs = scheduling.Runs(config, [sys.executable, "-m", "pinet_kedro", *scheduling.arguments(config, env)])
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
        from pinet_kedro.operations.inference.config import Serving
        from pinet_kedro.operations.project import parameters_of

        chosen = {name: value for name, value in given.items() if value is not None}
        config, registry = parameters_of("serving", Serving, env, **chosen), _registry(env)
        from pinet_kedro.operations.inference.serving import serve
        from pinet_kedro.operations.registry.server import sentence

        with sentence(
            registry.uri, "Nothing is served: a version is fetched from there once, and then needs it no more."
        ):
            serve(config, registry)


def _registry(env: str | None) -> Any:
    from pinet_kedro.operations.project import parameters_of
    from pinet_kedro.operations.registry.config import Tracking

    return parameters_of("tracking", Tracking, env)
