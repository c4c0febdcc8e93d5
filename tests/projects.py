"""Projects of the tests: `conf/` in a folder of its own, with the command line in this process."""

import os
import shutil
import sys
from pathlib import Path

from click.testing import CliRunner, Result
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
        os.chdir(self.folder)
        try:
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
