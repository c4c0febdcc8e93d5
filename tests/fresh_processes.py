"""Fresh processes without the seconds of their imports: forks of a Python that has imported MLflow and torch."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Isolated like the process in place of which it forks (`python -I`): nothing in it comes from the project.
_SERVER = """
import contextlib, fcntl, json, os, runpy, select, signal, socket, sys, traceback
import mlflow.pyfunc, torch

def work(request, descriptors):
    os.setsid()
    # First to numbers that nothing has, because those that are asked for may be taken.
    above = [fcntl.fcntl(number, fcntl.F_DUPFD, 500) for number in descriptors]
    for number, descriptor in zip(request["numbers"], above):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
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

def start(connection):
    message, descriptors, *_ = socket.recv_fds(connection, 2**20, 9)
    if (pid := os.fork()) == 0:
        connection.close()
        code = work(json.loads(message), descriptors)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    for number in descriptors:
        os.close(number)
    connection.sendall(b"%d\\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        connection.sendall(b"%d\\n" % code)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
# Its standard input is a pipe that ends with the process of the tests, even if that is killed.
while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
    connection, _ = listener.accept()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        start(connection)
        os._exit(0)
    connection.close()
"""


class FreshProcesses:
    """Stands for `subprocess` where a program is run with `python -I` or `python -P`."""

    def __init__(self, folder: Path) -> None:
        self._place = str(folder / "fresh")
        self._server = subprocess.Popen(
            [sys.executable, "-I", "-c", _SERVER, self._place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def as_subprocess(self) -> Any:
        """What `pinet_kedro.promotion.fresh_process` and `pinet_kedro.serving.supervisor` use of `subprocess`."""
        return SimpleNamespace(
            run=self._run, Popen=self._start, TimeoutExpired=subprocess.TimeoutExpired, PIPE=subprocess.PIPE
        )

    def stop(self) -> None:
        """Ends the server."""
        self._server.kill()
        self._server.communicate()

    def _run(
        self, command: list[str], *, cwd: str, env: Mapping[str, str], timeout: float, **_: Any
    ) -> subprocess.CompletedProcess[str]:
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            Path(os.devnull).open() as nothing,
        ):
            given = {number: file.fileno() for number, file in enumerate((nothing, out, err))}
            process = _Process(self._place, command, cwd, env, given)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            said = [(file.seek(0), file.read())[1] for file in (out, err)]
        return subprocess.CompletedProcess(command, code, *said)

    def _start(self, command: list[str], *, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any) -> "_Process":
        reading, writing = os.pipe()
        process = _Process(
            self._place, command, str(Path.cwd()), env, {0: reading, **{n: n for n in (1, 2, *pass_fds)}}
        )
        os.close(reading)
        process.stdin = os.fdopen(writing, "wb")
        return process


class _Process:
    """What of a `subprocess.Popen` is used; `descriptors`: by the numbers that they get."""

    def __init__(
        self, place: str, command: list[str], cwd: str, env: Mapping[str, str], descriptors: Mapping[int, int]
    ) -> None:
        assert command[0] == sys.executable
        assert command[1] in ("-I", "-P"), command
        self.args, self.stdin = command, None
        self.returncode: int | None = None
        request = {"program": command[2:], "cwd": cwd, "environment": dict(env), "numbers": list(descriptors)}
        self._said, self._connection = b"", socket.socket(socket.AF_UNIX)
        self._connection.connect(place)
        socket.send_fds(self._connection, [json.dumps(request).encode()], list(descriptors.values()))
        self.pid = self._number()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._number()
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from error
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _number(self) -> int:
        while b"\n" not in self._said:
            part = self._connection.recv(64)
            assert part, "the server of fresh processes has ended"
            self._said += part
        number, _, self._said = self._said.partition(b"\n")
        return int(number)
