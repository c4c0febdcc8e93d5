"""Fresh processes without the seconds of their imports: forks of a Python that has imported MLflow and torch."""

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Isolated like the process in place of which it forks (`python -I`): nothing in it comes from the project.
_SERVER = """
import json, os, runpy, select, signal, socket, sys, traceback
import mlflow.pyfunc, torch

def work(request):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
    os.chdir(request["cwd"])
    sys.argv = request["program"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
# Its standard input is a pipe that ends with the process of the tests, even if that is killed.
while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        code = work(json.loads(connection.makefile().readline()))
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
        os._exit(0)
    connection.close()
"""


class FreshProcesses:
    """Stands for `subprocess` where a program is run with `python -I`; the server starts with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None

    def as_subprocess(self) -> Any:
        """What `pinet_kedro.promotion.fresh_process` uses of `subprocess`."""
        return SimpleNamespace(run=self._run, TimeoutExpired=subprocess.TimeoutExpired)

    def stop(self) -> None:
        """Ends the server."""
        if self._server is not None:
            self._server.kill()
            self._server.communicate()

    def _run(self, command: list[str], *, cwd: str, timeout: float, **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[:2] == [sys.executable, "-I"], command
        place = self._folder / "fresh"
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-I", "-c", _SERVER, str(place)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert self._server.stdout is not None
            assert self._server.stdout.readline() == "ready\n"
        with tempfile.TemporaryDirectory() as texts, socket.socket(socket.AF_UNIX) as connection:
            files = {name: f"{texts}/{name}" for name in ("stdout", "stderr")}
            connection.settimeout(timeout)
            connection.connect(str(place))
            connection.sendall(json.dumps({"program": command[2:], "cwd": cwd, **files}).encode() + b"\n")
            try:
                code = connection.recv(16)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(command, timeout) from error
            said = [Path(file).read_text() for file in files.values()]
        return subprocess.CompletedProcess(command, int(code), *said)
