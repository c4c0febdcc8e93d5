"""Signals that stop a command."""

import signal
import threading
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


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGTERM and SIGINT that arrive in the block take effect after it. They disturb the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    with on_stop(arrived.append):
        yield
    for number in arrived:
        signal.raise_signal(number)
