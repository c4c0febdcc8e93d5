import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[2]


class Project:
    """A copy of the project in a folder of its own, and its command line in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str) -> Result:
        return self.invoke("run", *arguments)

    def invoke(self, *arguments: str) -> Result:
        from pinet_kedro.cli import cli

        before = Path.cwd()
        os.chdir(self.folder)
        try:
            bootstrap_project(self.folder)
            return CliRunner().invoke(cli, arguments)
        finally:
            os.chdir(before)

    def files(self) -> set[str]:
        """Everything under `data/` but the markers of empty folders and the locks, which every run leaves."""
        data = self.folder / "data"
        found = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file() and p.name != ".gitkeep"}
        return {name for name in found if not name.startswith("locks/")}


def copy_project(folder: Path) -> Project:
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".telemetry"):  # the latter says no, to commands that are processes of their own
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "conf" / "local").mkdir()
    return Project(folder)


@pytest.fixture(scope="session")
def new_project():
    """Makes a project in a folder, for fixtures that outlive a test."""
    return copy_project


@pytest.fixture
def own_address(monkeypatch):
    """MLflow keeps the address of a run for the process: the next test shall not inherit it."""
    import mlflow

    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project after `kedro run --pipeline=full --env=test`, and what the command said."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    result = project.run("--pipeline=full", "--env=test")
    assert result.exit_code == 0, result.output
    return project, result
