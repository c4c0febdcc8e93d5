"""Calls to a tracking server, made in order, however often the server is away."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from pinet_kedro.tracking.server import cause, is_outage

log = logging.getLogger(__name__)

_PAUSE_S = 60.0  # each attempt may cost the training half a minute (MLFLOW_HTTP_REQUEST_TIMEOUT, three times)


class Outbox:
    """Sends calls at once while the server answers, and keeps the others until it answers again."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._refused: list[str] = []
        self._not_before = 0.0
        self._warned = False
        self._lock = threading.Lock()  # nodes may run in threads

    def send(self, name: str, call: Callable[[], object]) -> None:
        """Makes the call now, after those that wait; an outage is logged once and stops nothing."""
        self.put(name, call)
        if time.monotonic() >= self._not_before:
            self.flush()

    def put(self, name: str, call: Callable[[], object]) -> None:
        """Keeps the call until the next `send` or `flush`."""
        self._waiting.append((name, call))

    def flush(self) -> None:
        """Makes the waiting calls, up to the first that the server does not take."""
        from mlflow.exceptions import MlflowException

        with self._lock:
            while self._waiting:
                name, call = self._waiting.popleft()
                try:
                    call()
                except Exception as error:
                    if is_outage(error):
                        self._waiting.appendleft((name, call))
                        self._pause(error)
                        return
                    if not isinstance(error, MlflowException | OSError):
                        raise
                    # For example, somebody has deleted the run. The training goes on.
                    log.warning("The tracking server %s refuses '%s': %s", self._server, name, cause(error))
                    self._refused.append(name)
            if self._warned:
                lost = "" if self._refused else "; nothing is lost"
                log.info("The tracking server %s answers again%s.", self._server, lost)
            self._warned = False

    def left(self) -> str:
        """What was not recorded, such as '3 × epoch of base, report'; empty when everything has."""
        counts = Counter([*self._refused, *(name for name, _ in self._waiting)])
        return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())

    def _pause(self, error: Exception) -> None:
        self._not_before = time.monotonic() + _PAUSE_S
        if not self._warned:
            log.warning("The tracking server %s does not take results: %s. The run goes on and tries again later.",
                        self._server, cause(error))  # fmt: skip
        self._warned = True
