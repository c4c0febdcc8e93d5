"""The project's own commands: `kedro run`, whose errors are sentences and not tracebacks."""

import functools
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError, ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from pinet_kedro.errors import InputError


@click.group(name="pinet_kedro")
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
        if isinstance(link, InputError | DataValidationError):
            return link
        link = link.__cause__ or link.__context__
    return error


@contextmanager
def _sentences() -> Iterator[None]:
    """Turns the errors that a user can do something about into one sentence and exit code 1."""
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        known = (InputError, DatasetError, ParameterValidationError, ArithmeticError)
        if not isinstance(cause, known) and not str(error).startswith("Failed to find the pipeline"):
            raise  # a defect of ours: the traceback is what helps
        # pydantic ends each complaint with the address of a page about the kind of error.
        raise click.ClickException(re.sub(r"\n\s*For further information visit \S+", "", str(cause))) from error


@functools.wraps(kedro_run.callback)  # type: ignore[arg-type]
def _run(**options: Any) -> Any:
    # Kedro 1.7 deprecates --pipeline for --pipelines; both are fine here.
    warnings.filterwarnings("ignore", message="Option '--pipeline'", category=KedroDeprecationWarning)
    with _sentences():
        return kedro_run.callback(**options)  # type: ignore[misc]


@cli.command()
@click.option("--env", "-e", help="Kedro environment of the schedule and of its runs.")
@click.option("--once", is_flag=True, help="Run now, once, and end with the run's exit code.")
@click.option("--dry-run", is_flag=True, help="Say what would run at which next times, and end.")
def schedule(env: str | None, once: bool, dry_run: bool) -> None:
    """Run the pipeline of conf/base/parameters_schedule.yml at its times, until SIGTERM or Ctrl-C."""
    from pinet_kedro.operations import schedule as scheduling

    with _sentences():
        config = scheduling.configured(env)
    runs = scheduling.Runs(config, [sys.executable, "-m", "pinet_kedro", *scheduling.arguments(config, env)])
    if dry_run:
        scheduling.show(config, env)
    elif once:
        click.get_current_context().exit(scheduling.run_once(runs))
    else:
        scheduling.run_forever(runs)


cli.add_command(
    click.Command("run", callback=_run, params=kedro_run.params, help=kedro_run.help, short_help="Run a pipeline.")
)
