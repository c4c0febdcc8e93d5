"""Requests that arrive while the model is busy are answered together, with one call of the model."""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

from .messages import Known, Message, Scope, failure

log = logging.getLogger("uvicorn.error")

_HIDDEN = "the model failed on this request; see the server's log"
_OF_THE_BODY = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect")


class Batcher:
    """Combines waiting requests into one call of the model, of at most `rows` users.

    With 12,101 items, a user in a batch of 64 takes a quarter of the time of a user alone. A request that arrives alone
    does not wait for others. `known`: what the model's own code takes. Requests with `explain` are not combined,
    because that saves nothing.
    """

    def __init__(self, app: Any, rows: int, known: Known = None) -> None:
        self.app = app
        self.rows = rows
        self.known = known
        self._pending: list[_Pending] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, scope: Scope, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of the response to a checked request."""
        if self.known is not None and (unknown := self._unknown(request)):
            return 400, failure("BAD_REQUEST", _earlier(unknown))
        pending = _Pending(scope, request, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await pending.answer

    def _unknown(self, request: dict[str, Any]) -> str | None:
        """The first name in the request that an earlier version of the code does not know."""
        assert self.known is not None
        for part, given in (("inputs", request["inputs"]), ("params", [request.get("params") or {}])):
            for names in given:
                if not names.keys() <= self.known[part]:
                    return f"{part}.{min(names.keys() - self.known[part])}"
        return None

    async def _work(self) -> None:
        while self._pending:
            batch = self._take()
            answers = await self._answers(batch)
            for pending, answer in zip(batch, answers, strict=True):
                if not pending.answer.done():  # it may have timed out in the meantime
                    pending.answer.set_result(answer)

    def _take(self) -> list["_Pending"]:
        """The first pending request, and those after it that fit into the same call."""
        first, count, rows = self._pending[0], 0, 0
        for pending in self._pending:
            rows += len(pending.rows())
            explained = first.explain() or pending.explain()
            if count and (rows > self.rows or pending.exclude_seen() != first.exclude_seen() or explained):
                break
            count += 1
        batch, self._pending = self._pending[:count], self._pending[count:]
        return batch

    async def _answers(self, batch: list["_Pending"]) -> list[tuple[int, bytes]]:
        if len(batch) > 1:
            rows = [row for pending in batch for row in pending.rows()]
            exclude_seen = batch[0].exclude_seen()
            params = {} if exclude_seen is None else {"exclude_seen": exclude_seen}
            status, body = await self._ask(batch[0].scope, {"inputs": rows, "params": params})
            if status == 200:
                found = iter(json.loads(body)["predictions"])  # one per row, in the order of the rows
                return [
                    (200, json.dumps({"predictions": [next(found) for _ in pending.rows()]}).encode())
                    for pending in batch
                ]  # fmt: skip
            # One of them is at fault: asking each alone shows which.
        return [await self._ask(pending.scope, pending.request) for pending in batch]

    async def _ask(self, scope: Scope, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of MLflow's response; a failure without internal details."""
        body = json.dumps(request).encode()
        ours = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers = [(key, value) for key, value in scope["headers"] if key not in _OF_THE_BODY] + ours
        given = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if given:
                return given.pop()
            return await asyncio.get_running_loop().create_future()  # never reports that the client has left

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await self.app({**scope, "headers": headers}, receive, send)
        except Exception:  # MLflow's application answers with 500 and raises the error again
            log.exception("a request failed")
            return 500, failure("INTERNAL_ERROR", _HIDDEN)
        return _discreet(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class _Pending:
    scope: Scope
    request: dict[str, Any]
    answer: asyncio.Future[tuple[int, bytes]]

    def rows(self) -> list[dict[str, Any]]:
        """The rows, each with its own `k` where `params` sets one for all of them."""
        k = (self.request.get("params") or {}).get("k")
        return [row if k is None or row.get("k") is not None else row | {"k": k} for row in self.request["inputs"]]

    def exclude_seen(self) -> bool | None:
        """Whether seen items are excluded; None: the version's policy decides."""
        return (self.request.get("params") or {}).get("exclude_seen")

    def explain(self) -> bool:
        """Whether the scores are explained."""
        return bool((self.request.get("params") or {}).get("explain"))


def _earlier(name: str) -> str:
    return (
        f"{name}: the version that answers does not know this field, because an earlier release has "
        "registered it; register the model again, or leave the field out"
    )


def _discreet(status: int, body: bytes) -> tuple[int, bytes]:
    """MLflow's response, reduced to code and message where it is a failure; the message only for a client's fault.

    MLflow puts the whole request before the message, which may be longer than any limit.
    """
    if status == 200:
        return status, body
    try:
        answer = json.loads(body)
        code, message, trace = answer["error_code"], answer["message"], answer.get("stack_trace")
    except (ValueError, TypeError, KeyError):
        code, message, trace = "INTERNAL_ERROR", _HIDDEN, None
    if trace:  # the model failed; MLflow would send the traceback to the client, with status 400
        log.error(trace)
        status, code, message = 500, "INTERNAL_ERROR", _HIDDEN
    if message.startswith("Failed to predict data"):
        message = message.partition("\nError: ")[2]  # in the request before it, line ends are escaped
    return status, failure(code, message[:2000])
