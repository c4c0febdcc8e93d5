"""Calls that need nothing of one another, so that whoever hands over an `AtOnce` may make them in several processes."""

from collections.abc import Callable, Sequence
from typing import Any

Calls = Sequence[Callable[[], Any]]
# The results of the calls, in order.
AtOnce = Callable[[Calls], list[Any]]


def in_turn(calls: Calls) -> list[Any]:
    """The results of the calls, one after the other in this process."""
    return [call() for call in calls]
