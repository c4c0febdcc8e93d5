"""The process in which a model version answers: MLflow's scoring server behind a guard.

`serving.py` starts it as a program, and it imports nothing of this package: so the version's own copy of the package
is the one that loads, whatever code the project has by now.

The guard refuses what is malformed or too large with a 4xx status and one sentence, accepts MLflow's table formats by
turning them into `inputs`, and keeps tracebacks in the log: MLflow would send them to the client, with status 400.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any

import uvicorn
from mlflow.pyfunc import load_model, scoring_server
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger("uvicorn.error")

_HIDDEN = "the model failed on this request; the log of the server says why"
_OF_THE_BODY = (b"content-length", b"content-encoding", b"transfer-encoding", b"expect")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequestError(Exception):
    """A request that the model does not get to see."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
    """The ASGI application around MLflow's."""

    def __init__(self, app: Any, limits: SimpleNamespace) -> None:
        self.app = app
        self.limits = limits
        self.body_type = request_type(limits)
        self.together = Together(app, limits.rows)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/invocations" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            request = self._checked(dict(scope["headers"]), await self._read(receive))
            status, body = await asyncio.wait_for(self.together.ask(scope, request), self.limits.seconds)
        except RequestError as error:
            status, body = error.status, _failure("BAD_REQUEST", str(error))
        except TimeoutError:
            status, body = 504, _failure("DEADLINE_EXCEEDED", f"no answer within {self.limits.seconds} s")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

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
                raise RequestError(413, f"the body is longer than {self.limits.body_bytes} bytes")
        return b"".join(parts)

    def _checked(self, headers: dict[bytes, bytes], body: bytes) -> dict[str, Any]:
        """The body as the model takes it."""
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise RequestError(415, "the header Content-Type must be application/json")
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            raise RequestError(400, "the body is not valid JSON in UTF-8") from None
        if not isinstance(request, dict):
            raise RequestError(400, "the body must be a JSON object")
        request = _as_inputs(request)
        try:
            self.body_type.model_validate(request)
        except ValidationError as error:
            raise RequestError(400, _sentence(error)) from None
        return request


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
        length = (b"content-length", str(len(body)).encode())
        headers = [(key, value) for key, value in scope["headers"] if key not in _OF_THE_BODY] + [length]
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


def main() -> None:
    """Arguments: the version's folder, the listening socket, the pipe, the limits, seconds for a graceful end."""
    folder, listening, ready, limits, stop_seconds = sys.argv[1:]
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    model = load_model(folder)
    app = Guard(scoring_server.init(model), SimpleNamespace(**json.loads(limits)))
    model.predict(model.input_example)  # what does not work ends here, and the first request is no slower than others
    gc.collect()
    gc.freeze()  # a full collection over all that torch and mlflow have imported takes more than 100 ms
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=app.limits.connections,
        timeout_graceful_shutdown=int(float(stop_seconds)),
    )
    _Server(config, int(ready)).run(sockets=[socket.socket(fileno=int(listening))])


if __name__ == "__main__":
    main()
