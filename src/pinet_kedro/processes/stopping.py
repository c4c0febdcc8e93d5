"""Signals that stop a command."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal has gone


class StoppedError(SystemExit):
    """A signal has ended the command, whose exit code is that of a shell: 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, and all three leave it as `StoppedError`."""

    def stop(number: int) -> None:
        raise StoppedError(number)

    try:
        with on_stop(stop, (signal.SIGTERM, signal.SIGHUP)):
            yield
    except KeyboardInterrupt:
        raise StoppedError(signal.SIGINT) from None


@contextmanager
def on_stop(action: Callable[[int], Any], signals: tuple[signal.Signals, ...] = _STOPS) -> Iterator[None]:
    """While the block runs, the signals only call `action` with their number, in the main thread.

    SIGHUP stays ignored where it is, as by nohup.
    """

    def handle(number: int, _: FrameType | None) -> None:
        action(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, handle) for number in signals if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that arrive in the block take effect after it. They disturb the main thread alone."""
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
    with _blocked(signal.SIGHUP):  # would end the tracker, which ignores the other signals
        # multiprocessing starts it with the first process, or the first queue, which would end the mask.
        resource_tracker.ensure_running()
    with _blocked(signal.SIGINT):
        yield


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ctrl-C does nothing to this process: the command ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
