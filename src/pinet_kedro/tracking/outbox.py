"""What a run wants recorded, in order, however often the tracking server is away meanwhile."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from pinet_kedro.tracking.server import cause, is_outage

log = logging.getLogger(__name__)

_PAUSE_S = 60.0  # each attempt may cost the training half a minute (MLFLOW_HTTP_REQUEST_TIMEOUT, three times)


class Outbox:
    """Sends at once while the server answers; keeps what it did not take, and sends that when it answers again."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._refused: list[str] = []
        self._not_before = 0.0
        self._warned = False
        self._lock = threading.Lock()  # nodes may run in threads

    def send(self, name: str, call: Callable[[], object]) -> None:
        """Makes the call now, after those that still wait; an outage is said once and stops nothing."""
        self.put(name, call)
        if time.monotonic() >= self._not_before:
            self.flush()

    def put(self, name: str, call: Callable[[], object]) -> None:
        """Keeps the call for the next time."""
        self._waiting.append((name, call))

    def flush(self) -> None:
        """Makes the waiting calls, up to the first that the server does not take."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        with self._lock:
            while self._waiting:
                name, call = self._waiting.popleft()
                try:
                    call()
                except (MlflowException, OSError, SQLAlchemyError) as error:
                    if is_outage(error):
                        self._waiting.appendleft((name, call))
                        self._pause(error)
                        return
                    # A run that somebody has deleted, say. No reason to lose a training for it.
                    log.warning("The tracking server %s refuses '%s': %s", self._server, name, cause(error))
                    self._refused.append(name)
            if self._warned:
                log.info("The tracking server %s answers again; nothing is lost.", self._server)
            self._warned = False

    def left(self) -> str:
        """What has not been recorded, such as '3 × epoch of base, report'; empty when everything has."""
        counts = Counter([*self._refused, *(name for name, _ in self._waiting)])
        return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())

    def _pause(self, error: Exception) -> None:
        self._not_before = time.monotonic() + _PAUSE_S
        if not self._warned:
            log.warning("The tracking server %s does not take results: %s. The run goes on; it is asked again later.",
                        self._server, cause(error))  # fmt: skip
        self._warned = True
