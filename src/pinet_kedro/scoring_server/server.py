"""The process: loads the versions, reports that it is ready, and stops with its parent."""

import asyncio
import gc
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from mlflow.pyfunc import load_model, scoring_server

from .answer_log import AnswerLog
from .arms import Arm, Arms
from .batching import Batcher
from .guard import Guard
from .metrics import Metrics
from .own_code import OwnCode
from .protocol import bounded

_OPEN_FILES = 65_536


class _Inline(ThreadPoolExecutor):
    """Runs a task at once, in the calling thread. A worker has one core and answers one request after the other in any
    case; with a thread for the model, waiting for Python's lock cost 7 % of the requests per second."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class _Server(uvicorn.Server):
    """Writes a byte to a pipe when it starts to accept requests, and closes the log when all are answered."""

    def __init__(self, config: uvicorn.Config, ready: int, log: AnswerLog | None) -> None:
        super().__init__(config)
        self._ready = ready
        self._log = log

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(_Inline(1))
        await super().startup(sockets)
        os.write(self._ready, b"+")
        os.close(self._ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._log is not None:
            self._log.close()


def _stop_with_parent() -> None:
    os.read(0, 1)  # returns when the parent ends, however it ends
    os.kill(os.getpid(), signal.SIGTERM)


def _raise_open_files() -> None:
    """Raises the limit of open files as far as allowed: a burst of connections is accepted before any can be closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _application(plan: dict[str, Any], log: AnswerLog | None, limits: SimpleNamespace, hosts: list[str]) -> Guard:
    """The application of the versions in `plan`, which `supervisor.py` makes."""
    folders = {arm["folder"] for arm in plan["arms"]}
    metrics = Metrics(Path(plan["metrics"]), [arm["version"] for arm in plan["arms"]])
    version_of = {arm["folder"]: arm["version"] for arm in plan["arms"]}
    batchers = {}
    for folder in folders:
        model: Any = load_model(folder) if len(folders) == 1 else OwnCode(folder)
        # A broken version fails here, and the first request is as fast as the others.
        model.predict(model.input_example)
        counted: Any = _Counted(model, version_of[folder], metrics)
        batchers[folder] = Batcher(scoring_server.init(counted), limits.rows, _known(model))
    arms = [Arm(arm["name"], arm["share"], arm["version"], batchers[arm["folder"]]) for arm in plan["arms"]]
    first = arms[0].batcher
    alone = len(arms) == 1 and log is None
    ask = first.ask if alone else Arms(arms, plan["salt"], log).ask
    return Guard(first.app, limits, hosts, ask, metrics, {arm.version: arm.batcher.known for arm in arms})


class _Counted:
    """A version as MLflow's application takes a model; counts its answers."""

    def __init__(self, model: Any, version: str, metrics: Metrics) -> None:
        self._model, self._version, self._metrics = model, version, metrics
        self.metadata = model.metadata

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """The model's answer."""
        answers = self._model.predict(data, params=params)
        self._metrics.answers(self._version, answers)
        return answers


def _known(model: Any) -> dict[str, frozenset[str]] | None:
    """The fields of a row and the parameters that the version's code takes; None if its signature has no rows."""
    rows, params = model.metadata.get_input_schema(), model.metadata.get_params_schema()
    properties = getattr(rows.inputs[0].type, "properties", None) if rows else None
    if not properties:
        return None
    return {
        "inputs": frozenset(known.name for known in properties),
        "params": frozenset(known.name for known in params.params) if params else frozenset(),
    }


def main() -> None:
    """Serves until SIGTERM. Arguments: what is served (JSON), file descriptors of the listening socket and of the pipe,
    limits and hosts (JSON), seconds to finish active requests when it stops."""
    plan, listening, ready, limits, hosts, stop_seconds = sys.argv[1:]
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    _raise_open_files()
    served = json.loads(plan)
    log = AnswerLog(**served["log"]) if served["log"] else None
    app = _application(served, log, SimpleNamespace(**json.loads(limits)), json.loads(hosts))
    gc.collect()
    gc.freeze()  # otherwise a full collection of all that torch and mlflow have imported takes more than 100 ms
    config = bounded(app, timeout_graceful_shutdown=int(float(stop_seconds)))
    _Server(config, int(ready), log).run(sockets=[socket.socket(fileno=int(listening))])
