"""The ASGI application in front of MLflow's: it checks address, headers and body before the model is called."""

import asyncio
import re
import time
from email.message import Message as MimeHeaders
from types import SimpleNamespace
from typing import Any

from .body import parse_body, request_type
from .description import Description
from .messages import Ask, Headers, Known, Receive, RequestError, Scope, Send, failure
from .metrics import CONTENT_TYPE, Metrics

_DESCRIPTIONS = (
    "/docs",
    "/openapi.json",
)  # MLflow's application has its own, whose page loads scripts from the network
_METHODS = {"/invocations": "POST"} | dict.fromkeys(("/ping", "/health", "/version", "/metrics", *_DESCRIPTIONS), "GET")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]*)?")  # a name or an address, and a port


class Guard:
    """Passes on only well-formed requests within `limits` whose `Host` is one of `hosts` ('*': any).

    `ask` answers those for recommendations, `metrics` those for its counters, `app` all others. `known` are the
    fields that each version takes (`Batcher`).
    """

    def __init__(
        self, app: Any, limits: SimpleNamespace, hosts: list[str], ask: Ask, metrics: Metrics, known: dict[str, Known]
    ) -> None:
        self.app = app
        self.limits = limits
        self.hosts = frozenset(hosts)
        self.body_type = request_type(limits)
        self.ask = ask
        self.metrics = metrics
        self.description = Description(self.body_type, limits, known)
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        more: Headers = []
        kind = b"application/json"
        try:
            self._check_address(scope)
            if scope["path"] == "/metrics":
                kind, status, body = CONTENT_TYPE, 200, self.metrics.text()
            elif scope["path"] in _DESCRIPTIONS:
                status, (kind, body) = 200, self.description.page(scope["path"])
            elif scope["path"] == "/invocations":
                status, body = await self._answer(scope, receive)
            else:
                await self.app(scope, receive, send)
                return
        except RequestError as error:
            status, body, more = error.status, failure("BAD_REQUEST", str(error)), error.headers
        except TimeoutError:
            status, body = 504, failure("DEADLINE_EXCEEDED", f"no answer within {self.limits.seconds} s")
        if scope["path"] == "/invocations":
            self.metrics.request(status)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _check_address(self, scope: Scope) -> None:
        """Raises where the request is not for this server: a foreign page can make a browser send one to it."""
        host = _HOST.fullmatch(_only(scope["headers"], b"host").decode("latin-1").lower())
        if host is None:
            raise RequestError(400, "the header Host must be a name or an address, optionally with a port")
        name = host[1].rstrip(".")
        if name not in self.hosts and "*" not in self.hosts:
            raise RequestError(
                421, f"this server does not answer for the host '{name[:100]}'; serving.hosts lists the allowed names"
            )
        method = _METHODS.get(scope["path"])
        if method is None:
            known = ", ".join(f"{method} {path}" for path, method in _METHODS.items())
            raise RequestError(404, f"there is no such address; there are {known}")
        if scope["method"] != method:
            raise RequestError(405, f"{scope['path']} takes {method} only", [(b"allow", method.encode())])

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        self._check_headers(scope["headers"])
        body = await self._read(receive)
        if self._active >= self.limits.connections:
            raise RequestError(503, f"{self._active} requests are active already; try again later")
        self._active += 1
        started = time.perf_counter()
        try:
            request = parse_body(body, self.body_type)
            return await asyncio.wait_for(self.ask(scope, request), self.limits.seconds)
        finally:
            self._active -= 1
            self.metrics.took(time.perf_counter() - started)

    def _check_headers(self, headers: Headers) -> None:
        kind, _, parameters = _only(headers, b"content-type").decode("latin-1").partition(";")
        if kind.strip().lower() != "application/json":
            raise RequestError(415, "the header Content-Type must be application/json")
        if parameters and (charset := _charset(parameters)) not in ("utf-8", "utf8", None):
            raise RequestError(415, f"the charset of the body must be UTF-8, not {charset[:100]}")
        if _only(headers, b"content-encoding").lower() not in (b"", b"identity"):
            raise RequestError(415, "the body must not be compressed: Content-Encoding is not supported")
        length = _only(headers, b"content-length")
        if length and _only(headers, b"transfer-encoding"):  # two lengths: a proxy may see another request in it
            raise RequestError(
                400, "Content-Length and Transfer-Encoding exclude each other", [(b"connection", b"close")]
            )
        if length and int(length) > self.limits.body_bytes:
            raise self._too_long()

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "the connection was closed before the request was complete")
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > self.limits.body_bytes:
                raise self._too_long()
        return b"".join(parts)

    def _too_long(self) -> RequestError:
        return RequestError(413, f"the body is longer than {self.limits.body_bytes} bytes")


def _only(headers: Headers, name: bytes) -> bytes:
    """The header's value; empty where there is none."""
    found = [value for key, value in headers if key == name]
    if len(found) > 1:
        raise RequestError(400, f"there is more than one header {name.decode().title()}")
    return found[0].strip() if found else b""


def _charset(parameters: str) -> str | None:
    header = MimeHeaders()
    header["content-type"] = f"application/json;{parameters}"
    return header.get_content_charset()
