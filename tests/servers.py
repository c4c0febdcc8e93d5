"""Servers to track with: MLflow's own in a process, and one that fails or hangs."""

import os
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

START_S = 180


@dataclass
class TrackingServer:
    """`mlflow server` on loopback with a database and an artifact proxy of its own."""

    uri: str
    process: subprocess.Popen

    def kill(self) -> None:
        """As the kernel would, with all its workers."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_tracking_server(folder: Path) -> TrackingServer:
    """Returns when it answers. The folder keeps the database, the artifacts and the log."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--serve-artifacts",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")},
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # another process, of no use here
    }
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
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
