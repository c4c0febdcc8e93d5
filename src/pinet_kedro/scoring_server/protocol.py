"""HTTP with deadlines: clients that are silent or slow lose their own connection and block nobody else."""

import asyncio
import functools
import logging
import sys
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .guard import Guard
from .messages import failure

log = logging.getLogger("uvicorn.error")

_PIECE = 4096  # bytes parsed at a time: h11 limits a request's head only while the head is incomplete
_HEAD = 4 * _PIECE  # most bytes of a request's head
_FLUSH_SECONDS = 1.0  # for a client to read a refusal before the connection is cut


@dataclass
class WaitingConnections:
    """The connections of a worker that wait for their client, the longest waiting first."""

    places: int
    connections: dict["BoundedProtocol", None] = field(default_factory=dict)
    _warned: float = float("-inf")

    def add(self, connection: "BoundedProtocol") -> None:
        """Puts the connection at the end; where there are too many, closes the first one."""
        self.connections.pop(connection, None)
        self.connections[connection] = None
        if len(self.connections) > self.places:
            first = next(iter(self.connections))
            del self.connections[first]
            first.transport.abort()
            if time.monotonic() - self._warned > 60:
                self._warned = time.monotonic()
                log.warning(
                    "%d connections wait for their clients: each new one now closes the longest waiting "
                    "(serving.limits.connections; logged at most once a minute).", self.places,
                )  # fmt: skip


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with a deadline for each step of the client.

    uvicorn alone waits without limit for a head, for a body, and for a client to read its response. Each deadline
    covers the whole step: sending a byte now and then does not extend it. When there are too many connections, the one
    that has waited longest is closed, whatever it waits for, so slow clients cannot occupy all places. A connection
    with a complete request is not waiting.

    h11, not httptools: it limits heads and reads one request at a time; the two were equally fast.
    """

    def __init__(self, limits: SimpleNamespace, waiting: WaitingConnections, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._waiting = waiting
        self._timer: asyncio.TimerHandle | None = None
        self._fresh = True  # nothing of the next request has arrived

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        if self._fresh and before is not None:
            self._wait(self._limits.head_seconds)
        self._fresh = False
        for start in range(0, len(data), _PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])
        if self._complete():
            self._stop_waiting()
        elif self.cycle is not before and not self.cycle.response_complete:
            self._wait(self._limits.body_seconds)

    def on_response_complete(self) -> None:
        self._fresh = True
        self._wait(self._limits.idle_seconds)
        super().on_response_complete()  # starts the next request if it has already arrived
        if self._complete():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        if getattr(sys.exc_info()[1], "error_status_hint", 400) == 431:
            self._refuse(431, "the head of the request is too long")
        else:
            self._refuse(400, "this is not a valid HTTP/1.1 request")

    def _should_upgrade(self) -> bool:
        return False  # the deadlines do not cover websockets

    def _complete(self) -> bool:
        """Whether a complete request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._late)
        self._waiting.add(self)

    def _stop_waiting(self) -> None:
        self._waiting.connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        if self._fresh:
            self.transport.abort()
        else:
            self._refuse(408, "the request was not complete in time")

    def _refuse(self, status: int, message: str) -> None:
        """Closes the connection; before that, sends the message unless a response has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = failure("BAD_REQUEST", message)
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.close()
        self._timer = self.loop.call_later(_FLUSH_SECONDS, self.transport.abort)


def bounded(app: Guard, **more: Any) -> uvicorn.Config:
    """uvicorn's configuration for the guard, with the deadlines and without features that bypass them."""
    waiting = WaitingConnections(app.limits.connections)
    return uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, app.limits, waiting),  # type: ignore[arg-type]
        h11_max_incomplete_event_size=_HEAD - _PIECE,
        timeout_keep_alive=int(app.limits.idle_seconds) + 1,  # later than our own deadline
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        **more,
    )
