"""Runs inside the run of a command, such as the trials of a study."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pinet_kedro.printable import public
from pinet_kedro.tracking.outbox import Outbox
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.tracking.runs import process_tags

if TYPE_CHECKING:
    from mlflow.entities import Metric

log = logging.getLogger(__name__)

_outboxes: dict[str, Outbox] = {}  # one for all nested runs of a process: what is away is away for all of them


class NestedRun:
    """A run inside another one, which may be that of another process.

    Everything is sent through an outbox, the run's creation too: a server that is away stops nothing, and what it did
    not take is sent with what follows. The run carries its process, so that one which dies is closed by the next.
    """

    def __init__(self, parent: MlflowRun, name: str) -> None:
        from mlflow import MlflowClient

        self._parent, self._name, self._id = parent, name, ""
        self._client = MlflowClient(parent.uri)
        self._outbox = _outboxes.setdefault(parent.uri, Outbox(public(parent.uri)))

    def start(self, tags: dict[str, str], parameters: dict[str, Any]) -> None:
        """Opens the run, with these tags and parameters."""
        from mlflow.entities import Param
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        began = int(time.time() * 1000)
        all_tags = {MLFLOW_PARENT_RUN_ID: self._parent.run_id, **tags, **process_tags()}
        logged = [Param(key, str(value)) for key, value in parameters.items()]

        def create() -> None:
            run = self._client.create_run(self._parent.experiment_id, began, all_tags, self._name)
            self._id = run.info.run_id

        self._outbox.send(self._name, create)
        self._send(lambda: self._client.log_batch(self._id, params=logged))

    def log(self, metrics: "list[Metric]") -> None:
        """Metrics of the run."""
        self._send(lambda: self._client.log_batch(self._id, metrics=metrics))

    def end(self, status: str, tags: dict[str, str]) -> None:
        """Closes the run."""
        from mlflow.entities import RunTag

        last = [RunTag(key, value[:4000]) for key, value in tags.items()]
        ended = int(time.time() * 1000)
        self._send(lambda: self._client.log_batch(self._id, tags=last))
        self._send(lambda: self._client.set_terminated(self._id, status, ended))

    def _send(self, call: Callable[[], object]) -> None:
        # Without a run, which the server has refused, there is nothing to log to.
        self._outbox.send(self._name, lambda: call() if self._id else None)


def close_nested() -> None:
    """Sends what still waits of the nested runs of this process, and warns of what could not be recorded."""
    for uri, outbox in _outboxes.items():
        outbox.flush()
        if left := outbox.left():
            log.warning("Not recorded by the tracking server %s: %s.", public(uri), left)
    _outboxes.clear()
