import pandas as pd
import pytest
import yaml
from filelock import FileLock

from pinet_kedro.promotion import fresh_process
from pinet_kedro.serving import supervisor
from projects import Project, create_project


@pytest.fixture(scope="module", autouse=True)
def _processes_that_have_imported(fresh_processes, spawned_by_a_server):
    """Each version is tried and served in processes of its own, and workers are processes, too. Imports are behind them
    here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fresh_process, supervisor):
            patch.setattr(module, "subprocess", fresh_processes.as_subprocess())
        yield


@pytest.fixture(scope="session")
def new_project():
    """Makes a project in a folder, for fixtures that outlive a test."""
    return create_project


@pytest.fixture
def project(tmp_path):
    """A project without data."""
    return create_project(tmp_path)


@pytest.fixture(scope="session")
def finished(of_all_workers):
    """A project after `kedro run --pipeline=full --env=test`, made once for all workers: tests read it or copy it."""
    folder = of_all_workers / "finished"
    with FileLock(f"{folder}.lock"):
        if not (folder / "data/08_reporting/evaluation.json").exists():
            folder.mkdir()
            project = create_project(folder)
            give_categories(project)
            result = project.run("--pipeline=full", "--env=test")
            assert result.exit_code == 0, result.output
    return Project(folder)


def give_categories(project):
    """Metadata for the 60 items of the log: the last has no category, one of five has two."""
    lists = [f"{'even' if n % 2 == 0 else 'odd'}{'|fifth' if n % 5 == 0 else ''}" for n in range(59)]
    items = pd.DataFrame({"sku": [f"i{n:05d}" for n in range(60)], "tags": [*lists, None]})
    items.to_csv(project.folder / "items.csv", index=False)
    catalog = project.folder / "conf/test/catalog.yml"
    entry = {
        "type": "pinet_kedro.datasets.items.ItemMetadataDataset",
        "filepath": "items.csv",
        "columns": {"item": "sku", "title": None, "categories": "tags"},
    }
    catalog.write_text(yaml.safe_dump(yaml.safe_load(catalog.read_text()) | {"item_metadata": entry}))


@pytest.fixture
def own_copy(finished, tmp_path):
    """A copy of the finished project, for a test that changes it."""
    return finished.copy(tmp_path / "project")


@pytest.fixture
def own_address(monkeypatch):
    """MLflow keeps the address of a run for the process: the next test must not inherit it."""
    import mlflow

    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
