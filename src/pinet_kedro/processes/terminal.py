"""Printable log records and tracebacks: names from files and parameters cannot send control codes to the terminal."""

import logging
import sys
import traceback
from types import TracebackType
from typing import Any

from pinet_kedro.printable import printable


class PrintableRecord(logging.LogRecord):
    """A log record whose message and traceback are printable with any handler and format."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = _traceback(*self.exc_info)  # formatters use this if it is set

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


def guard_terminal() -> None:
    """Makes all log records of this process, and the traceback of an unhandled error, printable.

    Kedro does not accept own formatters and filters in conf/logging.yml, so the record factory does it.
    """
    logging.setLogRecordFactory(PrintableRecord)
    sys.excepthook = lambda *error: print(_traceback(*error), file=sys.stderr)  # noqa: T201


def _traceback(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> str:
    return printable("".join(traceback.format_exception(kind, error, where)).rstrip())
