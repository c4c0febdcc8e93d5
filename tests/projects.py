"""Projects of the tests: `conf/` in a folder of its own, with the command line in this process."""

import logging
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result
from kedro.framework import project
from kedro.framework.startup import bootstrap_project

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
        on_term = signal.getsignal(signal.SIGTERM)  # a run that is recorded sets it for its process
        os.chdir(self.folder)
        try:
            # Once a process: all projects here have the same settings and pipelines, and under pytest, whose stack is
            # deep, it takes 0.3 s.
            if project.PACKAGE_NAME is None:
                bootstrap_project(self.folder)
            return CliRunner().invoke(cli, arguments)
        finally:
            os.chdir(folder)
            signal.signal(signal.SIGTERM, on_term)
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


class Forked:
    """A command in a fork of this process, which has the seconds of imports behind it.

    The fork must not inherit connections of MLflow to the database that the command uses.
    """

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

        self._process = multiprocessing.get_context("fork").Process(target=work)
        self._process.start()
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def said(self) -> str:
        """What it has logged, and in the end its output; a process that is killed has none."""
        return self._log.read_text()

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._process.exitcode

    def wait(self, seconds: float = 900) -> int | None:
        """The exit code, once it has ended."""
        self._process.join(seconds)
        return self._process.exitcode


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
