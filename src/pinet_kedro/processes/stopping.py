"""Signals that stop a command which runs until then."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def on_stop(action: Callable[[int], Any]) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT only call `action` with their number."""

    def handle(number: int, _: FrameType | None) -> None:
        action(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
