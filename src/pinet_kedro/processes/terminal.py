"""Printable log records and tracebacks: names from files and parameters cannot send control codes to the terminal."""

import io
import logging
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pinet_kedro.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


class PrintableRecord(logging.LogRecord):
    """A log record whose message and traceback are printable with any handler and format."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = _traceback(*self.exc_info)  # formatters use this if it is set

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


def open_console(log_width: int) -> "Console":
    """A console for tables: as wide as the terminal, or `log_width` columns where there is none, as in a log."""
    from rich.console import Console  # not needed at start-up

    console = Console()
    return console if console.is_terminal else Console(width=log_width)


def guard_terminal() -> None:
    """Makes all log records of this process, and the traceback of an unhandled error, printable.

    Kedro does not accept own formatters and filters in conf/logging.yml, so the record factory does it. What the
    encoding of the terminal lacks, such as a minus sign, is written as its number; it would end a command that has done
    its work.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr from the start
    logging.setLogRecordFactory(PrintableRecord)
    sys.excepthook = lambda *error: print(_traceback(*error), file=sys.stderr)  # noqa: T201


def _traceback(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> str:
    return printable("".join(traceback.format_exception(kind, error, where)).rstrip())
