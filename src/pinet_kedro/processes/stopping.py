"""Commands that go on until they are told to stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def on_stop(action: Callable[[int], Any]) -> Iterator[None]:
    """Has SIGTERM and SIGINT call this with their number, and do nothing else, while the block runs."""

    def handle(number: int, _: FrameType | None) -> None:
        action(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
