"""`kedro serve`: MLflow's scoring server on registered versions, replaced without a gap when an alias moves.

This process owns the socket. Worker processes (`scoring_server/`) answer on it: each version runs its own code, and the
old workers keep answering until the new ones are ready. With `serving.split`, each worker has both versions.
"""

import json
import logging
import math
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pinet_kedro
from pinet_kedro.errors import InputError
from pinet_kedro.processes.stopping import on_stop
from pinet_kedro.project import project_folder
from pinet_kedro.registry.versions import fetch_version, find_version
from pinet_kedro.serving.config import Serving
from pinet_kedro.tracking.config import Tracking

log = logging.getLogger(__name__)

_PROGRAM = Path(pinet_kedro.__file__).with_name("scoring_server") / "__main__.py"
_LOOK_SECONDS = 0.2  # between two checks of the workers
_FETCH_AGAIN = 12  # checks of the alias until a version that could not be fetched is fetched again
_DEATHS = 5  # of workers, in quick succession, before the server gives up
_CALM_SECONDS = 60.0  # after which a death no longer counts


def serve(config: Serving, tracking: Tracking) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    stop = threading.Event()
    with on_stop(lambda _: stop.set()):
        _serve(config, tracking, stop)


def _serve(config: Serving, tracking: Tracking, stop: threading.Event) -> None:
    started = time.monotonic()
    with _listen(config) as listening, TemporaryDirectory(prefix="pinet_counts_") as counts:
        host, port = listening.getsockname()[:2]
        versions = _find_versions(config, tracking)
        current = _Workers(versions, config, tracking, listening, counts)
        try:
            if not current.ready(stop):
                if stop.is_set():
                    return
                raise InputError(
                    f"version {_named(versions)} of '{tracking.model}' did not start; see its output above."
                )
            log.info(
                "Serving %s version %s (%s) on http://%s:%d/invocations, ready after %.1f s",
                tracking.model, _named(versions),
                ", ".join(f"{name} {share:g}" if config.split else name for name, share in config.arms().items()),
                host, port, time.monotonic() - started,
            )  # fmt: skip
            if config.reaches_only_itself():
                log.warning(
                    "serving.host = %s listens on every address, but only requests for %s are answered: list the host "
                    "names that clients use in serving.hosts (conf/base/parameters_serving.yml).",
                    config.host, ", ".join(config.hosts),
                )  # fmt: skip
            watch = _Watch(config, tracking, versions, stop)
            refused, again = None, 0.0
            while not stop.wait(_LOOK_SECONDS):
                current.restart_dead()
                wanted = watch.versions
                if wanted == current.versions or (wanted == refused and time.monotonic() < again):
                    continue
                current, again = _replace(current, wanted, config, tracking, listening, stop)
                refused = wanted
            log.info("Stopping: active requests are answered first.")
        finally:
            current.stop()


def _listen(config: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"serving.host = {config.host}, serving.port = {config.port}: {error.strerror or error}. Choose another "
            "(--host, --port); --port=0 takes any free port."
        ) from error


def _find_versions(config: Serving, tracking: Tracking) -> dict[str, str]:
    """The version of each alias or number that is served."""
    return {name: find_version(name, tracking) for name in config.arms()}


def _named(versions: dict[str, str]) -> str:
    return " and ".join(versions.values())


class _Watch:
    """The versions that the aliases point to, checked regularly; while the registry is down, the last known ones."""

    def __init__(self, config: Serving, tracking: Tracking, versions: dict[str, str], stop: threading.Event) -> None:
        self.versions = versions
        if not all(name.isdecimal() for name in versions):
            threading.Thread(target=self._look, args=(config, tracking, stop), daemon=True).start()

    def _look(self, config: Serving, tracking: Tracking, stop: threading.Event) -> None:
        trouble = False
        while not stop.wait(config.watch_seconds):
            try:
                self.versions = _find_versions(config, tracking)
                trouble = False
            except Exception as error:  # serving goes on, whatever is wrong with the registry
                if not trouble:
                    log.warning("The registry gives no version (%s); version %s goes on.", error, _named(self.versions))
                trouble = True


def _replace(
    current: "_Workers",
    wanted: dict[str, str],
    config: Serving,
    tracking: Tracking,
    listening: socket.socket,
    stop: threading.Event,
) -> tuple["_Workers", float]:
    """The workers that answer from now on, and, if those are still the old ones, when to try again (monotonic time).

    Files that cannot be fetched may be there later: the store was away, or somebody restores them. A version that did
    not start is not tried again.
    """
    old, named, began = _named(current.versions), _named(wanted), time.monotonic()
    try:
        new = _Workers(wanted, config, tracking, listening, current.counts)
    except Exception as error:
        log.error("Version %s cannot be fetched (%s); version %s goes on.", named, error, old)
        # A store that hangs takes minutes, in which no dead worker is replaced: a tenth of the time at most.
        now = time.monotonic()
        return current, now + max(_FETCH_AGAIN * config.watch_seconds, 10 * (now - began))
    if not new.ready(stop):
        new.stop()
        if not stop.is_set():
            log.error("Version %s did not start; version %s goes on.", named, old)
        return current, math.inf
    current.stop()
    moved = " and ".join(f"'{name}'" for name in wanted if wanted[name] != current.versions[name])
    log.info("%s has moved: serving version %s in place of %s", moved, named, old)
    return new, 0.0


class _Workers:
    """The processes that serve one version, or the two of a split; `versions` has the version of each name.

    Their counters are files in the folder `counts`.
    """

    def __init__(
        self, versions: dict[str, str], config: Serving, tracking: Tracking, listening: socket.socket, counts: str
    ) -> None:
        self.versions = versions
        self.counts = counts
        self._config = config
        self._socket = listening
        self._folder = TemporaryDirectory(prefix="pinet_serving_")
        self._deaths: list[float] = []
        try:
            self._models = {version: self._fetch(version, tracking) for version in set(versions.values())}
        except BaseException:
            self._folder.cleanup()
            raise
        self._workers = [self._start(place) for place in range(config.workers)]

    def _fetch(self, version: str, tracking: Tracking) -> Path:
        folder = Path(self._folder.name, version)
        folder.mkdir()
        return fetch_version(version, tracking, folder)

    def _plan(self, place: int) -> dict[str, Any]:
        """What a worker serves and logs."""
        config = self._config
        arms = [
            {"name": name, "share": share, "version": version, "folder": str(self._models[version])}
            for (name, share), version in zip(config.arms().items(), self.versions.values(), strict=True)
        ]
        kept = config.log
        log = {"folder": str(project_folder() / kept.folder), "max_bytes": kept.bytes, "files": kept.files}
        # Only a successor of a dead worker has the same name, and goes on in the file.
        counts = str(Path(self.counts, f"{'-'.join(self.versions.values())}-{place}.counts"))
        return {"arms": arms, "salt": config.salt, "log": log if kept.enabled else None, "metrics": counts}

    def _start(self, place: int) -> tuple[subprocess.Popen[bytes], int]:
        config = self._config
        ready, writing = os.pipe()
        environment = os.environ | {
            "OMP_NUM_THREADS": str(config.threads),
            "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(config.limits.seconds),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        listening = self._socket.fileno()
        limits = json.dumps(config.limits.model_dump())
        hosts = json.dumps(config.allowed_hosts())
        plan = json.dumps(self._plan(place))
        arguments = [plan, str(listening), str(writing), limits, hosts, str(config.stop_seconds)]
        process = subprocess.Popen(
            # -P: modules in the program's folder must not shadow others of the same name. In a new session, Ctrl-C
            # reaches this process only, which then stops its workers in order.
            [sys.executable, "-P", str(_PROGRAM), *arguments],
            stdin=subprocess.PIPE, pass_fds=(listening, writing), env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(writing)
        return process, ready

    def ready(self, stop: threading.Event) -> bool:
        """Waits until all workers answer; False if one ends before that or takes too long, or if `stop` is set."""
        until = time.monotonic() + self._config.start_seconds
        waiting = [ready for _, ready in self._workers]
        while waiting and time.monotonic() < until and not stop.is_set():
            for ready in select.select(waiting, [], [], _LOOK_SECONDS)[0]:
                if os.read(ready, 1) != b"+":
                    return False
                waiting.remove(ready)
        return not waiting

    def restart_dead(self) -> None:
        """Replaces the processes that have ended; raises `InputError` when too many die in quick succession."""
        for place, (process, ready) in enumerate(self._workers):
            if process.poll() is None:
                continue
            now = time.monotonic()
            self._deaths = [death for death in self._deaths if now - death < _CALM_SECONDS] + [now]
            if len(self._deaths) > _DEATHS:
                raise InputError(f"{len(self._deaths)} workers have died within {_CALM_SECONDS:.0f} s; giving up.")
            log.error("A worker has died (exit status %d); a new one replaces it.", process.returncode)
            _close(process, ready)
            self._workers[place] = self._start(place)

    def stop(self) -> None:
        """Lets active requests finish, then ends the processes and removes the files."""
        for process, _ in self._workers:
            process.terminate()
        for process, ready in self._workers:
            try:
                process.wait(self._config.stop_seconds + 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process, ready)
        self._folder.cleanup()


def _close(process: subprocess.Popen[bytes], ready: int) -> None:
    with suppress(OSError):
        os.close(ready)
    if process.stdin:
        process.stdin.close()
