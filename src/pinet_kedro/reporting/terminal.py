"""What reaches a terminal is text: names from files and parameters cannot send it commands (`printable`)."""

import logging
import sys
import traceback
from types import TracebackType
from typing import Any

from pinet_kedro.printable import printable


class PrintableRecord(logging.LogRecord):
    """A log record whose message and traceback are printable, whatever handler and format the project has."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = _traceback(*self.exc_info)  # a formatter takes this where it is set

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


def guard_terminal() -> None:
    """Makes all that is logged in this process, and the traceback of an error that nobody handles, printable.

    Kedro refuses formatters and filters of ours in conf/logging.yml, so records are made printable as they are created.
    """
    logging.setLogRecordFactory(PrintableRecord)
    sys.excepthook = lambda *error: print(_traceback(*error), file=sys.stderr)  # noqa: T201


def _traceback(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> str:
    return printable("".join(traceback.format_exception(kind, error, where)).rstrip())
