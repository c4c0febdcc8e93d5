"""Signals that stop a command."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal has gone
_SAME_STOP_S = 5.0
_AGAIN_S = 0.05
_Handler = Callable[[int, FrameType | None], None]


class StoppedError(SystemExit):
    """A signal has ended the command, whose exit code is that of a shell: 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, and all three leave it as `StoppedError`.

    What ends the block, and then the process, is not disturbed by the same signal again: `timeout` sends it twice, to
    its command and to the group. A signal that comes later than that ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping, hook = _Stopping(), sys.unraisablehook
    before = _handle(stopping.arrived, but_ignored=_STOPS)  # ignored by nohup, or by `&`

    def unraisable(lost: Any) -> None:
        if isinstance(lost.exc_value, StoppedError | KeyboardInterrupt):
            stopping.lost(lost.exc_value)
        else:
            hook(lost)

    sys.unraisablehook = unraisable
    try:
        yield
    except (KeyboardInterrupt, StoppedError) as stop:
        stopping.done = True
        raise StoppedError(_number(stop)) from None
    finally:
        sys.unraisablehook = hook
        if not stopping.done:
            _restore(before)


def _number(stop: BaseException) -> int:
    return stop.number if isinstance(stop, StoppedError) else signal.SIGINT


def _handle(handler: _Handler, but_ignored: Collection[int]) -> dict[int, Any]:
    """Sets the handler of all signals but those of `but_ignored` that are ignored; the handlers before, by signal."""
    left = {number for number in but_ignored if signal.getsignal(number) is signal.SIG_IGN}
    return {number: signal.signal(number, handler) for number in _STOPS if number not in left}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Stopping:
    """The handler of the signals that stop a command."""

    def __init__(self) -> None:
        self.done = False  # whether the block has ended, so that only the end of the process is left
        self._until = 0.0

    def arrived(self, number: int, _: FrameType | None) -> None:
        """Raises what ends the block; does nothing for the same stop again."""
        if time.monotonic() < self._until:
            return
        if self.done:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._until = time.monotonic() + _SAME_STOP_S
        raise KeyboardInterrupt if number == signal.SIGINT else StoppedError(number)

    def lost(self, stop: BaseException) -> None:
        """Sends the signal again: Python drops an error in a finalizer or the callback of a weak reference.

        By a timer, because here it would be dropped again, and a thread could wait for a lock that is held here.
        """
        number, self._until = _number(stop), 0.0
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


@contextmanager
def on_stop(action: Callable[[int], Any]) -> Iterator[None]:
    """While the block runs, the signals only call `action` with their number, in the main thread.

    SIGHUP stays ignored where it is, as by nohup.
    """

    def handle(number: int, _: FrameType | None) -> None:
        action(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _handle(handle, but_ignored=[signal.SIGHUP])
    try:
        yield
    finally:
        _restore(before)


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
