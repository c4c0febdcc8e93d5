"""A place that cannot keep runs and versions is refused in a sentence before any work."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from pydantic import ValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking import store
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import end_run
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.tracking.server import sentence
from pinet_kedro.tracking.store import check_artifacts

LOCK = """
import sqlite3, sys, time
file = sqlite3.connect("mlflow.db", isolation_level=None)
file.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_database):
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_make", make_database)
        store.check_database(f"sqlite:///{folder / 'mlflow.db'}", write=True)
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    return folder / "mlflow.db"


@pytest.fixture
def database(made, tmp_path, monkeypatch):
    """A database in the current folder, which has not been written to lately."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(made, "mlflow.db")
    os.utime("mlflow.db", (0, 0))
    return tmp_path / "mlflow.db"


@pytest.fixture
def lock(database):
    """Locks the database in another process for some seconds."""
    processes = []

    def start(seconds):
        processes.append(subprocess.Popen([sys.executable, "-c", LOCK, str(seconds)], stdout=subprocess.PIPE))
        processes[-1].stdout.readline()
        return processes[-1].pid

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def untracked():
    return RunInfo("full", "local", "not a git checkout", Tracking())


def refusal(uri="sqlite:///mlflow.db", write=True):
    with pytest.raises(InputError) as error:
        tracking.connect(Tracking(uri=uri), write)
    return str(error.value)


def test_a_locked_database_is_waited_for(lock, caplog):
    lock(2)
    tracking.connect(Tracking(), write=True)
    assert "is locked" in caplog.text


@pytest.mark.parametrize("write", [True, False])
def test_a_database_that_stays_locked_names_who_holds_it(lock, monkeypatch, write):
    monkeypatch.setattr(store, "_WAIT_S", 1.2)
    pid = lock(60)
    message = refusal(write=write)
    assert "has been locked for 1.2 s" in message
    if Path("/proc/locks").exists():
        assert f"by process {pid} (" in message


def overwrite(path, start, length):
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\xaa" * length
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database" * 500),
        lambda path: os.truncate(path, 50_000),
        lambda path: overwrite(path, 100_000, 40_000),
    ],
    ids=["garbage", "truncated", "overwritten"],
)
def test_a_damaged_database_is_refused_and_left_as_it_is(database, damage):
    damage(database)
    before = database.read_bytes()
    assert "is damaged, or no database" in refusal()
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("revision", "words"),
    [("ffffffffffff", "written by a newer one"), ("451aebb31d03", "mlflow db upgrade sqlite:///")],
)
def test_a_database_of_another_schema_is_refused_and_not_migrated(database, revision, words):
    with sqlite3.connect(database) as file:
        file.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    os.utime(database, (0, 0))
    assert words in refusal()
    assert sqlite3.connect(database).execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("mlflow.db") as file:
        file.execute("CREATE TABLE experiments (name TEXT)")
    os.utime("mlflow.db", (0, 0))
    assert "is of something else" in refusal()
    assert sqlite3.connect("mlflow.db").execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def make_immutable(path, on):
    """Read-only for root too; skips where the file system has no such attribute."""
    done = subprocess.run(["chattr", "+i" if on else "-i", str(path)], capture_output=True, check=False)
    if on and done.returncode:
        pytest.skip("this file system cannot make a file read-only for root")


@pytest.fixture
def read_only():
    """Makes a file or folder read-only for the test, also where it runs as root."""
    paths = []

    def protect(path):
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            make_immutable(path, True)
        paths.append(path)

    yield protect
    for path in paths:
        if os.geteuid() == 0:
            make_immutable(path, False)
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_read_only_database_can_be_read_but_not_written(database, read_only):
    read_only(database)
    tracking.connect(Tracking(), write=False)
    assert "is read-only" in refusal(write=True)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sqlite://", "would keep nothing"),
        ("sqlite:///:memory:", "would keep nothing"),
        ("sqlite:///folder", "is a folder"),
        ("sqlite:///file/mlflow.db", "cannot be created"),
    ],
)
def test_an_address_that_keeps_nothing_is_refused(tmp_path, monkeypatch, uri, words):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    assert words in refusal(uri)


@pytest.mark.parametrize("uri", ["foo://host", "mlruns", "file:///mlruns"])
def test_an_address_of_no_known_kind_is_refused_by_its_type(uri):
    with pytest.raises(ValidationError, match="MLflow has no store of this kind"):
        Tracking(uri=uri)


def test_a_driver_that_is_missing_is_a_sentence_without_the_password():
    with pytest.raises(InputError) as error, sentence("postgresql://me:secret@host/db", "Nothing has been run."):
        raise ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2")
    assert "No module named 'psycopg2', which this address needs. Nothing has been run." in str(error.value)
    assert "secret" not in str(error.value)


def test_a_folder_of_artifacts_that_is_read_only_is_found_out(tmp_path, read_only):
    folder = tmp_path / "mlartifacts"
    check_artifacts(folder.as_uri())
    read_only(folder)
    with pytest.raises(InputError, match=r"mlartifacts cannot be written to: .*nothing has been run"):
        check_artifacts(folder.as_uri())


def test_a_full_disk_is_found_out(tmp_path, monkeypatch):
    check_artifacts(tmp_path.as_uri())
    monkeypatch.setattr(store, "_FREE_BYTES", shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(InputError, match=r"MB are free on its disk, and at least"):
        check_artifacts(tmp_path.as_uri())
    check_artifacts("mlflow-artifacts:/1")  # of a server, which knows its own disk


def test_a_deleted_experiment_says_how_to_restore_it(database):
    client = tracking.connect(Tracking())
    number = client.create_experiment("pinet", artifact_location=Path("mlartifacts").absolute().as_uri())
    client.delete_experiment(number)
    with pytest.raises(InputError, match=f"mlflow experiments restore --experiment-id {number}"):
        tracking.start_run(untracked(), {})


def test_a_run_that_was_deleted_meanwhile_is_a_sentence(database):
    client = tracking.connect(Tracking())
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    with (
        pytest.raises(InputError, match=r"deleted state\. Again"),
        sentence("sqlite:///mlflow.db", "Again."),
    ):
        mlflow.start_run(run_id=run)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_URI", "http://me:secret@elsewhere"),
        ("MLFLOW_REGISTRY_URI", "sqlite:///other.db"),
        ("MLFLOW_EXPERIMENT_NAME", "other"),
        ("MLFLOW_EXPERIMENT_ID", "7"),
        ("MLFLOW_RUN_ID", "a" * 32),
    ],
)
def test_a_variable_that_asks_for_another_place_is_refused_before_a_run(database, monkeypatch, name, value):
    before = database.read_bytes()
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as error:
        tracking.start_run(untracked(), {})
    assert str(error.value).startswith(f"{name} is ")
    assert "tracking." in str(error.value)
    assert "secret" not in str(error.value)
    assert database.read_bytes() == before


def test_variables_that_agree_are_obeyed_and_stay_as_they_were(database, monkeypatch):
    given = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{database}", "MLFLOW_REGISTRY_URI": "sqlite:///mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "pinet",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    run = tracking.start_run(untracked(), {})
    end_run(run, "FINISHED")
    assert mlflow.MlflowClient(f"sqlite:///{database}").get_run(run.mlflow_id).info.status == "FINISHED"
    assert {name: os.environ[name] for name in given} == given


def test_a_run_leaves_no_address_to_the_next_one(database):
    tracking.connect(Tracking())
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.get_registry_uri() == mlflow.get_tracking_uri() == f"sqlite:///{database}"
