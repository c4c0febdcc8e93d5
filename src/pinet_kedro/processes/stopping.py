"""Signals that stop a command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
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


@contextmanager
def interrupts_left_to_the_command() -> Iterator[None]:
    """A process that starts in the block waits with SIGINT until `ignore_interrupts`.

    Ctrl-C reaches the whole group of processes: one that is about to start would print a traceback.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it with the first process, which would end the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ctrl-C does nothing to this process: the command ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
