"""Projects of the tests: `conf/` in a folder of its own, with the command line in this process."""

import atexit
import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from click.testing import CliRunner, Result
from kedro.framework import project
from kedro.framework.startup import bootstrap_project

from pinet_kedro.__main__ import main

ROOT = Path(__file__).parents[1]


class Project:
    """A folder with `conf/` and, after a run, `data/`; commands run in this process, as if started in that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> Result:
        return self.invoke("run", *arguments)

    def invoke(self, *arguments: str) -> Result:
        from pinet_kedro.cli import cli

        folder, path, environment = Path.cwd(), sys.path[:], os.environ.get("PYTHONPATH")
        os.chdir(self.folder)
        try:
            # Once a process: all projects here have the same settings and pipelines, and under pytest, whose stack is
            # deep, it takes 0.3 s.
            if project.PACKAGE_NAME is None:
                bootstrap_project(self.folder)
            return CliRunner().invoke(cli, arguments)
        finally:
            os.chdir(folder)
            # Kedro puts the project's `src` first in both paths; hundreds of them would slow every later import.
            sys.path[:] = path
            if environment is None:
                os.environ.pop("PYTHONPATH", None)
            else:
                os.environ["PYTHONPATH"] = environment

    def fork(self, *arguments: str, first: Callable[[], object] = lambda: None) -> "Forked":
        """`invoke` in a process of its own, which calls `first` before."""
        return Forked(self, arguments, first)

    def copy(self, folder: Path) -> "Project":
        """A copy with its own data and tracking database; artifacts of earlier versions stay where they are."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("mlartifacts"))
        return Project(folder)

    def files(self) -> set[str]:
        """Everything under `data/` except markers of empty folders and locks, which every run leaves."""
        data = self.folder / "data"
        found = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file() and p.name != ".gitkeep"}
        return {name for name in found if not name.startswith("locks/")}


def create_project(folder: Path) -> Project:
    """A project without data. Its `src` is empty: commands run the package that the tests import."""
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".telemetry"):  # the latter declines, for commands that are processes of their own
        shutil.copy(ROOT / name, folder)
    for name in ("src", "conf/local"):
        (folder / name).mkdir()
    return Project(folder)


def _import_before_a_fork() -> None:
    """What takes seconds, here and not in every fork."""
    for name in ("great_expectations", "mlflow.pyfunc", "torch._dynamo"):
        importlib.import_module(name)


class Fork:
    """A fork of this process, which has the seconds of imports behind it."""

    def __init__(self, work: Callable[[], None]) -> None:
        tests = os.getpid()

        def end_with_the_tests() -> None:
            while os.getppid() == tests:
                time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)

        def with_own_connections() -> None:
            threading.Thread(target=end_with_the_tests, daemon=True).start()
            for name in ("tracking", "model_registry"):
                store = sys.modules.get(f"mlflow.store.{name}.sqlalchemy_store")
                for engine in store.SqlAlchemyStore._engine_map.values() if store else ():
                    engine.dispose(close=False)
            work()

        self._process = multiprocessing.get_context("fork").Process(target=with_own_connections)
        self._process.start()
        # None of those that `active_children` lists, and that the end of this process waits for.
        multiprocessing.process._children.discard(self._process)
        self.pid = self._process.pid
        self.kill, self.terminate = self._process.kill, self._process.terminate

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exitcode

    def wait(self, seconds: float = 900) -> int | None:
        """The exit code, once it has ended."""
        self._process.join(seconds)
        return self._process.exitcode


class Forked(Fork):
    """A command in a fork of this process."""

    def __init__(self, project: Project, arguments: tuple[str, ...], first: Callable[[], object]) -> None:
        self._log = project.folder / "command.log"
        self._log.touch()

        def work() -> None:
            log = logging.getLogger("pinet_kedro")
            log.addHandler(logging.FileHandler(self._log))
            sys.argv = ["kedro", *arguments]  # which the lock of a run names
            first()
            result = project.invoke(*arguments)
            log.info(result.output)
            sys.exit(result.exit_code)

        _import_before_a_fork()
        super().__init__(work)

    @property
    def said(self) -> str:
        """What it has logged, and in the end its output; a process that is killed has none."""
        return self._log.read_text()


class Command(Fork):
    """`python -m pinet_kedro …`, or another program, as a shell starts it: in a session of its own, and with all that
    it writes in a file."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], output: Path, environment: Mapping[str, str] = os.environ,
        program: Callable[[], object] = main,
    ) -> None:  # fmt: skip
        def work() -> None:
            os.setsid()
            for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                signal.signal(number, handler)
            os.chdir(folder)
            given = dict(environment)
            os.environ.clear()
            os.environ.update(given)
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
                setattr(sys, name, os.fdopen(number, "w", buffering=1))
            project.LOGGING.configure(project.LOGGING.data)  # to these streams
            sys.argv = ["pinet_kedro", *arguments]
            atexit._clear()  # what the tests do at their end
            try:
                program()
            finally:
                atexit._run_exitfuncs()  # which `multiprocessing` leaves out

        output.write_bytes(b"")
        _import_before_a_fork()
        super().__init__(work)


def run_forked(command: list[str], *, cwd: Path, env: Mapping[str, str], stdout: TextIO, **_: object) -> Any:
    """Stands for `subprocess.run` where the project starts a command of its own."""
    assert command[:3] == [sys.executable, "-m", "pinet_kedro"], command
    return subprocess.CompletedProcess(command, Command(cwd, command[3:], Path(stdout.name), env).wait())


class AtNode(logging.Handler):
    """Does something when a node of this name starts."""

    def __init__(self, node: str, action: Callable[[], None]) -> None:
        super().__init__()
        self.node, self.action = node, action

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().endswith((f"] {self.node}", f".{self.node}")):
            self.action()


def act_at(node: str, action: Callable[[], None]) -> None:
    """Does something when this node of this process starts."""
    logging.getLogger("pinet_kedro").addHandler(AtNode(node, action))


def kill_at(project: Project, node: str, *arguments: str) -> None:
    """Runs a pipeline in a process that is killed when this node begins."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    process = project.fork("run", *arguments, first=lambda: act_at(node, die))
    assert process.wait() == -signal.SIGKILL, process.said
