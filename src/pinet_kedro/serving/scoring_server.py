"""The process in which a model version answers: MLflow's scoring server behind a guard.

`serving.py` starts it as a program, and it imports nothing of this package: so the version's own copy of the package
is the one that loads, whatever code the project has by now.

The guard refuses what is malformed or too large with a 4xx status and one sentence, accepts MLflow's table formats by
turning them into `inputs`, and keeps tracebacks in the log: MLflow would send them to the client, with status 400.

Below the guard stands uvicorn's protocol with deadlines (`BoundedProtocol`): clients that are silent or slow lose their
own connections and take nobody else's.
"""

import asyncio
import functools
import gc
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message as MimeHeaders
from http import HTTPStatus
from types import SimpleNamespace
from typing import Annotated, Any

import h11
import uvicorn
from mlflow.pyfunc import load_model, scoring_server
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("uvicorn.error")

_HIDDEN = "the model failed on this request; the log of the server says why"
_OF_THE_BODY = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect")
# MLflow's application has more, such as /docs, whose page takes its scripts from the network.
_METHODS = {"/invocations": "POST", "/ping": "GET", "/health": "GET", "/version": "GET"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]*)?")  # a name or an address, and a port
_PIECE = 4096  # bytes that are parsed at a time: h11 limits a head only while it is incomplete
_HEAD = 4 * _PIECE  # the longest head
_OPEN_FILES = 65_536
_FLUSH_SECONDS = 1.0  # for a client to take a refusal before the connection is cut

Headers = list[tuple[bytes, bytes]]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequestError(Exception):
    """A request that the model does not get to see; `headers` come with the answer."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []


def request_type(limits: SimpleNamespace) -> type[BaseModel]:
    """What the body of a request may be; `Request` in `served_model.py` says what the fields mean."""
    Id = Annotated[str, Field(max_length=limits.id_length)]
    Count = Annotated[int, Field(ge=1, le=limits.k)]

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

    class Row(Strict):
        history: Annotated[list[Id], Field(max_length=limits.history)]
        k: Count | None = None
        exclude: Annotated[list[Id], Field(max_length=limits.exclude)] | None = None
        user_id: Id | None = None

    class Params(Strict):
        k: Count = 1
        exclude_seen: bool = True

    class Body(Strict):
        inputs: Annotated[list[Row], Field(min_length=1, max_length=limits.rows)]
        params: Params | None = None

    return Body


class Guard:
    """The ASGI application around MLflow's. It answers only requests whose `Host` is one of `hosts` ('*': any)."""

    def __init__(self, app: Any, limits: SimpleNamespace, hosts: list[str]) -> None:
        self.app = app
        self.limits = limits
        self.hosts = frozenset(hosts)
        self.body_type = request_type(limits)
        self.together = Together(app, limits.rows)
        self._at_work = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        more: Headers = []
        try:
            self._check_address(scope)
            if scope["path"] != "/invocations":
                await self.app(scope, receive, send)
                return
            status, body = await self._answer(scope, receive)
        except RequestError as error:
            status, body, more = error.status, _failure("BAD_REQUEST", str(error)), error.headers
        except TimeoutError:
            status, body = 504, _failure("DEADLINE_EXCEEDED", f"no answer within {self.limits.seconds} s")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _check_address(self, scope: MutableMapping[str, Any]) -> None:
        """Whether it is meant for this server: a page of a foreign site can make a browser ask it, under that name."""
        host = _HOST.fullmatch(_only(scope["headers"], b"host").decode("latin-1").lower())
        if host is None:
            raise RequestError(400, "the header Host must be a name or an address, and a port if need be")
        name = host[1].rstrip(".")
        if name not in self.hosts and "*" not in self.hosts:
            raise RequestError(
                421,
                f"this server does not answer for the host '{name[:100]}'; serving.hosts lists the names that it has",
            )
        method = _METHODS.get(scope["path"])
        if method is None:
            there_are = ", ".join(f"{method} {path}" for path, method in _METHODS.items())
            raise RequestError(404, f"there is no such address; there are {there_are}")
        if scope["method"] != method:
            raise RequestError(405, f"{scope['path']} takes {method} only", [(b"allow", method.encode())])

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> tuple[int, bytes]:
        self._check_headers(scope["headers"])
        body = await self._read(receive)
        if self._at_work >= self.limits.connections:
            raise RequestError(503, f"{self._at_work} requests are at work already; ask again later")
        self._at_work += 1
        try:
            return await asyncio.wait_for(self.together.ask(scope, self._checked(body)), self.limits.seconds)
        finally:
            self._at_work -= 1

    def _check_headers(self, headers: Headers) -> None:
        kind, _, parameters = _only(headers, b"content-type").decode("latin-1").partition(";")
        if kind.strip().lower() != "application/json":
            raise RequestError(415, "the header Content-Type must be application/json")
        if parameters and (charset := _charset(parameters)) not in ("utf-8", "utf8", None):
            raise RequestError(415, f"the charset of the body must be UTF-8, not {charset[:100]}")
        if _only(headers, b"content-encoding").lower() not in (b"", b"identity"):
            raise RequestError(415, "the body must not be compressed: Content-Encoding is not supported")
        length = _only(headers, b"content-length")
        if length and _only(headers, b"transfer-encoding"):  # two lengths: who reads on may read another request
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

    def _checked(self, body: bytes) -> dict[str, Any]:
        """The body as the model takes it."""
        try:
            # As text: of bytes, `json` would guess UTF-16 and UTF-32 as well.
            request = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_constant)
        except UnicodeDecodeError:
            raise RequestError(400, "the body is not JSON in UTF-8") from None
        except (ValueError, RecursionError) as error:
            known = f": {error}" if isinstance(error, _JsonError) else ""
            raise RequestError(400, f"the body is not valid JSON{known}") from None
        if not isinstance(request, dict):
            raise RequestError(400, "the body must be a JSON object")
        request = _as_inputs(request)
        try:
            self.body_type.model_validate(request)
        except ValidationError as error:
            raise RequestError(400, _sentence(error)) from None
        return request


class _JsonError(ValueError):
    """What Python reads and JSON does not allow."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _JsonError("an object has the same name twice")
    return found


def _no_constant(name: str) -> None:
    raise _JsonError(f"{name} is no number")


def _only(headers: Headers, name: bytes) -> bytes:
    """The header's value, empty where there is none."""
    found = [value for key, value in headers if key == name]
    if len(found) > 1:
        raise RequestError(400, f"there is more than one header {name.decode().title()}")
    return found[0].strip() if found else b""


def _charset(parameters: str) -> str | None:
    header = MimeHeaders()
    header["content-type"] = f"application/json;{parameters}"
    return header.get_content_charset()


class Together:
    """Puts requests to the model together that have arrived while it was at work: on 12,101 items a user among 64 takes
    a quarter of the time of one alone. A request that arrives alone waits for nobody."""

    def __init__(self, app: Any, rows: int) -> None:
        self.app = app
        self.rows = rows
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, scope: MutableMapping[str, Any], request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of the answer to a checked request."""
        waiting = _Waiting(scope, request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        while self._waiting:
            some = self._take()
            answers = await self._answers(some)
            for waiting, answer in zip(some, answers, strict=True):
                if not waiting.answer.done():  # given up in the meantime
                    waiting.answer.set_result(answer)

    def _take(self) -> list["_Waiting"]:
        """The first, and those after it that go with it."""
        first, count, rows = self._waiting[0], 0, 0
        for waiting in self._waiting:
            rows += len(waiting.rows())
            if count and (rows > self.rows or waiting.seen() != first.seen()):
                break
            count += 1
        some, self._waiting = self._waiting[:count], self._waiting[count:]
        return some

    async def _answers(self, some: list["_Waiting"]) -> list[tuple[int, bytes]]:
        if len(some) > 1:
            rows = [row for waiting in some for row in waiting.rows()]
            seen = some[0].seen()
            params = {} if seen is None else {"exclude_seen": seen}
            status, body = await self._ask(some[0].scope, {"inputs": rows, "params": params})
            if status == 200:
                found = iter(json.loads(body)["predictions"])  # one a row, in their order
                return [
                    (200, json.dumps({"predictions": [next(found) for _ in waiting.rows()]}).encode())
                    for waiting in some
                ]  # fmt: skip
            # Who is at fault is found out one by one.
        return [await self._ask(waiting.scope, waiting.request) for waiting in some]

    async def _ask(self, scope: MutableMapping[str, Any], request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of MLflow's answer, a failure without what is nobody else's business."""
        body = json.dumps(request).encode()
        ours = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers = [(key, value) for key, value in scope["headers"] if key not in _OF_THE_BODY] + ours
        given = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if given:
                return given.pop()
            return await asyncio.get_running_loop().create_future()  # the client is not seen to go

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await self.app({**scope, "headers": headers}, receive, send)
        except Exception:  # MLflow's application raises again what it has answered with 500
            log.exception("a request failed")
            return 500, _failure("INTERNAL_ERROR", _HIDDEN)
        return _discreet(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class _Waiting:
    scope: MutableMapping[str, Any]
    request: dict[str, Any]
    answer: asyncio.Future[tuple[int, bytes]]

    def rows(self) -> list[dict[str, Any]]:
        """Rows that say themselves how many items they want, where `params` says it."""
        k = (self.request.get("params") or {}).get("k")
        return [row if k is None or row.get("k") is not None else row | {"k": k} for row in self.request["inputs"]]

    def seen(self) -> bool | None:
        """Whether seen items are excluded; None: as the version's policy says."""
        return (self.request.get("params") or {}).get("exclude_seen")


def _as_inputs(body: dict[str, Any]) -> dict[str, Any]:
    """A body of `dataframe_records`, `dataframe_split` or `instances` in the form of `inputs`; any other as it is."""
    if "inputs" in body:
        return body
    rest = {key: value for key, value in body.items() if key not in scoring_server.SUPPORTED_FORMATS}
    given = [body[key] for key in body if key in ("dataframe_records", "instances")]
    if "dataframe_split" in body:
        table = body["dataframe_split"]
        if not isinstance(table, dict) or not {"columns", "data"} <= set(table) <= {"columns", "data", "index"}:
            raise RequestError(400, "dataframe_split must hold columns and data")
        try:
            given.append([dict(zip(table["columns"], row, strict=True)) for row in table["data"]])
        except (TypeError, ValueError):
            raise RequestError(
                400, "dataframe_split.data must hold a value for each of its columns in every row"
            ) from None
    return {**rest, "inputs": given[0]} if len(given) == 1 else body


def _sentence(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = (".".join(map(str, e["loc"])) or "the body" for e in found)
    said = [f"{place[:100]}: {e['msg']}" for place, e in zip(places, found, strict=True)]
    more = f"; and {len(said) - 3} more" if len(said) > 3 else ""
    return "; ".join(said[:3]) + more


def _discreet(status: int, body: bytes) -> tuple[int, bytes]:
    """An answer of MLflow's; of a failure code and message alone, and those only where the client is at fault."""
    if status == 200:
        return status, body
    try:
        said = json.loads(body)
        code, message, trace = said["error_code"], said["message"], said.get("stack_trace")
    except (ValueError, TypeError, KeyError):
        code, message, trace = "INTERNAL_ERROR", _HIDDEN, None
    if trace:  # the model failed: MLflow blames the request, we do not
        log.error(trace)
        status, code, message = 500, "INTERNAL_ERROR", _HIDDEN
    return status, _failure(code, message[:2000])


def _failure(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": message}).encode()


@dataclass
class Waiting:
    """The connections of a worker whose client has to do something, the longest waiting first."""

    places: int
    connections: dict["BoundedProtocol", None] = field(default_factory=dict)
    _warned: float = float("-inf")

    def add(self, connection: "BoundedProtocol") -> None:
        """Puts it at the end; the first one is closed where there are too many."""
        self.connections.pop(connection, None)
        self.connections[connection] = None
        if len(self.connections) > self.places:
            first = next(iter(self.connections))
            del self.connections[first]
            first.transport.abort()
            if time.monotonic() - self._warned > 60:
                self._warned = time.monotonic()
                log.warning(
                    "%d connections wait for their clients: from now on the longest waiting is closed for a new one "
                    "(serving.limits.connections; this is logged once a minute at most).", self.places,
                )  # fmt: skip


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with a deadline for whatever the client has to do.

    uvicorn alone waits for ever for a head, a body, and a client that does not read its answer. The deadlines hold for
    the whole: a byte now and then does not move them. Who waits longest makes room for new connections, whatever it
    waits for, so nobody keeps places by being slow: a complete request is no longer among those that wait.

    h11, not httptools: it limits heads and reads one request after the other, and both cost the same in measurements.
    """

    def __init__(self, limits: SimpleNamespace, waiting: Waiting, **given: Any) -> None:
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
            self._wait_no_more()
        elif self.cycle is not before and not self.cycle.response_complete:
            self._wait(self._limits.body_seconds)

    def on_response_complete(self) -> None:
        self._fresh = True
        self._wait(self._limits.idle_seconds)
        super().on_response_complete()  # goes on with the next request, if one is there already
        if self._complete():
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        if getattr(sys.exc_info()[1], "error_status_hint", 400) == 431:
            self._refuse(431, "the head of the request is too long")
        else:
            self._refuse(400, "this is not a valid HTTP/1.1 request")

    def _should_upgrade(self) -> bool:
        return False  # websockets would leave the deadlines

    def _complete(self) -> bool:
        """Whether a whole request is at work."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _wait(self, seconds: float) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(seconds, self._late)
        self._waiting.add(self)

    def _wait_no_more(self) -> None:
        self._waiting.connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        if self._fresh:
            self.transport.abort()
        else:
            self._refuse(408, "the request was not complete in time")

    def _refuse(self, status: int, message: str) -> None:
        """Answers what has not become a request, unless an answer has begun, and closes the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = _failure("BAD_REQUEST", message)
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
    """uvicorn's configuration for the guard: with deadlines, and nothing that passes by them."""
    return uvicorn.Config(
        app,
        http=functools.partial(BoundedProtocol, app.limits, Waiting(app.limits.connections)),  # type: ignore[arg-type]
        h11_max_incomplete_event_size=_HEAD - _PIECE,
        timeout_keep_alive=int(app.limits.idle_seconds) + 1,  # after our own
        ws="none",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        **more,
    )


class _Inline(ThreadPoolExecutor):
    """Runs a task at once, in the calling thread: one core answers one request after the other in any case, and a
    thread for the model, with the waits of the two at Python's lock, cost 7 % of the requests a second."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class _Server(uvicorn.Server):
    """Says on a pipe when it has begun to answer."""

    def __init__(self, config: uvicorn.Config, ready: int) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(_Inline(1))
        await super().startup(sockets)
        os.write(self._ready, b"+")
        os.close(self._ready)


def _stop_with_parent() -> None:
    os.read(0, 1)  # ends when the parent does, however it ends
    os.kill(os.getpid(), signal.SIGTERM)


def _raise_open_files() -> None:
    """As many files as the system allows: a burst of connections is accepted before the first can be closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def main() -> None:
    """Arguments: the version's folder, the listening socket, the pipe, limits, hosts, seconds for a graceful end."""
    folder, listening, ready, limits, hosts, stop_seconds = sys.argv[1:]
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    _raise_open_files()
    model = load_model(folder)
    app = Guard(scoring_server.init(model), SimpleNamespace(**json.loads(limits)), json.loads(hosts))
    model.predict(model.input_example)  # what does not work ends here, and the first request is no slower than others
    gc.collect()
    gc.freeze()  # a full collection over all that torch and mlflow have imported takes more than 100 ms
    config = bounded(app, timeout_graceful_shutdown=int(float(stop_seconds)))
    _Server(config, int(ready)).run(sockets=[socket.socket(fileno=int(listening))])


if __name__ == "__main__":
    main()
