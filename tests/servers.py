"""Servers as processes of their own: MLflow's to track with, `kedro serve` to ask, and one that fails or hangs."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pinet_kedro.tracking import store
from projects import Command

# Limits are for defects. A machine with much else to do may take ten times as long as an idle one.
START_S = 300


@dataclass
class TrackingServer:
    """`mlflow server` on loopback with a database and an artifact proxy of its own."""

    uri: str
    process: Command

    def kill(self) -> None:
        """As the kernel would, with all its workers."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_tracking_server(folder: Path) -> TrackingServer:
    """Returns when it answers. The folder keeps the database, the artifacts and the log."""
    from mlflow.cli import cli

    port = free_port()
    store._make(folder / "server.db")  # a copy (tests/conftest.py)
    arguments = [
        "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--serve-artifacts",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")},
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # another process, of no use here
    }
    process = Command(folder, arguments, folder / "server.log", environment, cli)
    server = TrackingServer(f"http://127.0.0.1:{port}", process)
    until = time.monotonic() + START_S
    while not answers(server.uri):
        if process.poll() is not None or time.monotonic() > until:
            server.stop()
            raise RuntimeError((folder / "server.log").read_text())
        time.sleep(0.2)
    return server


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


class ScoringServer:
    """A running `kedro serve`; `fresh`: as a process that has imported nothing before."""

    def __init__(self, folder: Path, env: str, *options: str, fresh: bool = False) -> None:
        self.log = folder / "".join(("serve", *options, ".log"))
        arguments = ["serve", f"--env={env}", *options]
        self.process: subprocess.Popen[bytes] | Command
        if fresh:
            command = [sys.executable, "-m", "kedro", *arguments]
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        else:
            self.process = Command(folder, arguments, self.log)
        self.port = int(self.wait_for(r"http://127\.0\.0\.1:(\d+)/invocations")[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)

    def wait_for(self, pattern: str, seconds: float = START_S) -> re.Match:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no {pattern} in {self.log.read_text()}")

    def ask(self, body, headers=None, path="/invocations", method="POST") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = body if isinstance(body, str | bytes) else json.dumps(body)
        connection.request(method, path, body, {"Content-Type": "application/json"} if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert "Traceback" not in text
        assert 'File "' not in text
        return answer.status, text

    def rows(self, body) -> list[dict]:
        status, text = self.ask(body)
        assert status == 200, text
        return json.loads(text)["predictions"]

    def version(self) -> str:
        return self.rows({"inputs": [{"history": []}]})[0]["model_version"]

    def workers(self) -> list[int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=True)
        return [int(pid) for pid in found.stdout.split()]


@contextmanager
def sick_server(behaviour: str) -> Iterator[tuple[str, list[str]]]:
    """Address of a server that answers every request with '500' or 'hangs', and the requests that it got."""
    requests: list[str] = []
    healthy = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            requests.append(self.path)
            if behaviour == "hangs":
                healthy.wait(60)
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        healthy.set()
        server.shutdown()
        server.server_close()
