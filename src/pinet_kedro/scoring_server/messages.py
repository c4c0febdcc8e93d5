"""What the parts of the server share: ASGI types, the refusal of a request, and the body of a failure."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Known = dict[str, frozenset[str]] | None  # names in `inputs` and in `params` that a version takes; None: not known
Ask = Callable[[Scope, dict[str, Any]], Awaitable[tuple[int, bytes]]]  # status and body of a checked request


class RequestError(Exception):
    """A request that is refused before the model sees it; `headers` are added to the response."""

    def __init__(self, status: int, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or []


def failure(code: str, message: str) -> bytes:
    """The body of a failed response, as MLflow writes it."""
    return json.dumps({"error_code": code, "message": message}).encode()
