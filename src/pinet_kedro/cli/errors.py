"""Errors that a user can fix, and signals, become one sentence and an exit code; defects keep their traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from kedro.io import DatasetError
from kedro.validation.exceptions import DataValidationError, ParameterValidationError

from pinet_kedro.errors import EndedError, InputError, NothingToDo
from pinet_kedro.printable import printable
from pinet_kedro.processes.stopping import StoppedError, stoppable


@contextmanager
def sentences() -> Iterator[None]:
    """Turns the errors that a user can fix into one sentence and exit code 1.

    SIGTERM, SIGHUP and Ctrl-C become a sentence and 128 + their number.
    """
    try:
        with stoppable():
            yield
    except StoppedError as stopped:
        click.echo(f"Stopped by {stopped.by}.", err=True)
        raise
    except NothingToDo as reason:
        echo(reason)
    except Exception as error:
        cause = _cause(error)
        if _out_of_memory(cause):
            raise click.ClickException(
                f"There is not enough memory ({(str(cause) or 'MemoryError').splitlines()[0]}). Reduce what needs most "
                "of it: backbone_training.backbone.width and max_length, backbone_training.schedule.batch_users, "
                "plugin_training.rank and the numbers of candidates and factors."
            ) from error
        known = (InputError, DatasetError, ParameterValidationError, ArithmeticError, EndedError)
        if not isinstance(cause, known):
            raise  # a defect: the traceback helps
        raise click.ClickException(printable(str(cause))) from error


def echo(text: object) -> None:
    """Prints the text without control characters."""
    click.echo(printable(str(text)))


def _cause(error: BaseException) -> BaseException:
    """The error in the chain that was written for the user, or the error itself."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, InputError | DataValidationError):
            return link
        link = link.__cause__ or link.__context__
    return error


def _out_of_memory(error: BaseException) -> bool:
    """Whether numpy or torch could not allocate memory; torch has no exception class for it on a CPU."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error))
