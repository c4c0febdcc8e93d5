"""The project's own commands: `kedro run`, whose errors are sentences and not tracebacks."""

import functools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro import KedroDeprecationWarning
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError, ParameterValidationError

from pinet_kedro.errors import InputError


@click.group(name="pinet_kedro")
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


cli.add_command(
    click.Command("run", callback=_run, params=kedro_run.params, help=kedro_run.help, short_help="Run a pipeline.")
)


@cli.command()
@click.option("--env", "-e", help="Kedro environment.")
@click.option("--host", help="Address to answer on (default: this machine alone).")
@click.option("--port", type=int, help="Port to answer on; 0 takes any that is free.")
@click.option("--version", help="Alias or number of the version (default: champion).")
@click.option("--workers", type=int, help="Processes that answer.")
def serve(env: str | None, **given: Any) -> None:
    """Answer requests for recommendations over HTTP with the champion, until Ctrl-C or SIGTERM.

    Limits and defaults stand in conf/base/parameters_serving.yml. A champion that moves is followed without a restart.
    """
    with _sentences():
        from kedro.framework.session import KedroSession
        from pydantic import ValidationError

        from pinet_kedro.operations.serving_config import Serving
        from pinet_kedro.operations.tracking_config import Tracking

        with KedroSession.create(env=env) as session:
            parameters = session.load_context().config_loader["parameters"]  # type: ignore[attr-defined]
        chosen = {name: value for name, value in given.items() if value is not None}
        try:
            config = Serving.model_validate(parameters.get("serving", {}) | chosen)
            tracking = Tracking.model_validate(parameters.get("tracking", {}))
        except ValidationError as error:
            raise InputError(f"the parameters of serving or tracking are wrong: {error}") from error
        from pinet_kedro.operations.serving import serve

        serve(config, tracking)
