"""Where MLflow stores runs and versions, tried before a run relies on it: database file and folder of artifacts.

MLflow itself gives up a locked database after 5 s, migrates an older one without asking, and notices a folder that it
cannot write to when it stores the first version, after hours of training.
"""

import logging
import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public
from pinet_kedro.processes.holders import by_whom
from pinet_kedro.project import project_folder
from pinet_kedro.tracking.config import WAY_OUT, Tracking
from pinet_kedro.tracking.database import check_server, is_database
from pinet_kedro.tracking.schema import schema_fault
from pinet_kedro.tracking.server import cause

log = logging.getLogger(__name__)

FILE = "sqlite:///"
# Environment variables that name the place where MLflow records.
PLACES = (
    "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID",
)  # fmt: skip
_WAIT_S = 30.0  # for another process to unlock the database
_PATIENCE_S = 1.0  # of these, before it logs that it waits
_SETTLED_S = 5.0  # a database that was written to more recently may still be created or migrated
_POLL_S = 0.2
_CHECKED_BYTES = 2**28  # a larger database is not read through to find damage: it would take seconds
_FREE_BYTES = 50 * 2**20  # a version takes some megabytes, the results of a run a few more


def address(uri: str) -> str:
    """The address as MLflow takes it: a database file is relative to the project, not to the current folder."""
    return FILE + str(project_folder() / uri.removeprefix(FILE)) if uri.startswith(FILE) else uri


def location_of(artifacts: str) -> str:
    """The address of a place for artifacts; a folder is relative to the project."""
    return artifacts if "://" in artifacts else (project_folder() / artifacts).as_uri()


def check_environment(config: Tracking, run: bool) -> None:
    """Refuses environment variables of MLflow that name another place than the configuration.

    MLflow obeys some of them against the configuration, so that a run and its version could end up in two places.
    `run`: also check the variables that only concern runs.
    """
    tracking_uri, registry_uri, experiment, *others = PLACES
    for name, key in ((tracking_uri, "runs and versions"), (registry_uri, "versions")):
        given = os.environ.get(name)
        if given and address(given) != address(config.uri):
            raise InputError(
                f"{name} is {public(given)}, but tracking.uri is {public(config.uri)}, where {key} would go. Unset the "
                "variable, or give both one address: --params=tracking.uri=…, parameters.yml of the run's environment "
                f"(conf/local without --env), or --env=prod, which takes tracking.uri from {tracking_uri}."
            )
    name = os.environ.get(experiment, "") if run else ""
    if name and name != config.experiment:
        raise InputError(
            f"{experiment} is '{name}', but tracking.experiment is '{config.experiment}'. Unset the variable, "
            f"or name the experiment by --params=tracking.experiment={name}."
        )
    for name in others if run else ():
        if os.environ.get(name):
            raise InputError(
                f"{name} is {os.environ[name]}, but every run here is a new one, of the experiment that "
                f"tracking.experiment names ('{config.experiment}'). Unset the variable."
            )


def check_database(uri: str, write: bool) -> None:
    """Refuses a database that cannot be used, and waits for a file that is locked. An HTTP server is not checked."""
    _be_quiet()
    if is_database(uri):
        check_server(uri)
    if not uri.startswith("sqlite"):
        return
    if not uri.startswith(FILE) or uri.removeprefix(FILE) in ("", ":memory:"):
        raise InputError(f"tracking.uri = {uri} would keep nothing: give a file, such as sqlite:///mlflow.db.")
    path = Path(address(uri).removeprefix(FILE).partition("?")[0])
    if path.is_dir():
        raise InputError(f"tracking.uri = {uri}: {path} is a folder, and no database file. {WAY_OUT}.")
    if not path.exists():
        _check_folder(path.parent, f"The tracking database {path} cannot be created")
        _make(path)
        return
    if write and not os.access(path.parent, os.W_OK | os.X_OK):  # SQLite writes a journal next to the file
        raise InputError(f"The tracking database {path} cannot be written: its folder is read-only. {WAY_OUT}.")
    wrong = schema_fault(f"The tracking database {path}", FILE + str(path), *_look(path, write))
    while wrong and time.time() - path.stat().st_mtime < _SETTLED_S:  # another process may be creating it
        time.sleep(_POLL_S)
        wrong = schema_fault(f"The tracking database {path}", FILE + str(path), *_look(path, write))
    if wrong:
        raise InputError(wrong)


def check_artifacts(location: str) -> None:
    """Refuses a place for artifacts that cannot be written to, and a folder on a disk that is full."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file", "mlflow-artifacts"):  # this process itself writes there
        _try_bucket(location)
    if parts.scheme not in ("", "file"):
        return
    folder = Path(unquote(parts.path))
    what = f"The folder of artifacts {folder} cannot be written to"
    for place in (folder, folder / "models"):
        if place == folder or place.exists():
            _check_folder(place, what)
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES:
        raise InputError(
            f"{what}: {free / 2**20:.0f} MB are free on its disk, and at least {_FREE_BYTES / 2**20:.0f} MB are needed "
            "for a run and its version. Make room; nothing has been run."
        )


def _try_bucket(location: str) -> None:
    """Writes a small file, always the same, to a bucket."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as folder:
        (file := Path(folder, ".written_before_a_run")).write_text("x", encoding="utf-8")
        try:
            get_artifact_repository(location).log_artifact(str(file))
        except Exception as error:  # each kind of store has its own classes
            raise InputError(
                f"The place of artifacts {public(location)} cannot be written to: {cause(error)}. Nothing has been run."
            ) from error


def _check_folder(folder: Path, what: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}. Make it writable; nothing has been run.") from error


def _make(path: Path) -> None:
    """Creates a database whole or not at all.

    MLflow creates one in place by about fifty migrations: two processes that do so at once break it, and a killed one
    leaves a file that no other process can use.
    """
    from mlflow import MlflowClient

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        MlflowClient(FILE + str(part))
        with suppress(FileExistsError):  # another process was faster
            try:
                os.link(part, path)
            except PermissionError:  # a file system without links
                part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _be_quiet() -> None:
    """Silences what MLflow logs of every migration, and its tracebacks of errors that it also raises."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # MLflow makes up for statements that fail


def _look(path: Path, write: bool) -> tuple[set[str], str | None]:
    """Tables and schema revision of a database; waits for its lock, and raises `InputError` where it cannot be used."""
    until = time.monotonic() + _WAIT_S
    try:
        try:
            return _try(path, write, _PATIENCE_S)
        except sqlite3.OperationalError as error:
            if not _is_locked(error):
                raise
            log.warning("The tracking database %s is locked%s; waiting up to %g s.", path, by_whom(path), _WAIT_S)
            return _try(path, write, max(until - time.monotonic(), 0.0))
    except sqlite3.Error as error:
        raise InputError(_sentence(path, error)) from error


def _try(path: Path, write: bool, wait_s: float) -> tuple[set[str], str | None]:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", wait_s, uri=True, isolation_level=None)) as file:
        file.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if write:  # writes the same number: only writing the journal shows whether there is room
                [(version,)] = file.execute("PRAGMA user_version").fetchall()
                file.execute(f"PRAGMA user_version = {version}")
            revision = None
            if "alembic_version" in tables:
                revision = file.execute("SELECT version_num FROM alembic_version").fetchone()
            if path.stat().st_size < _CHECKED_BYTES and file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("database disk image is malformed")
        finally:
            file.execute("ROLLBACK")
    return tables, None if revision is None else revision[0]


def _is_locked(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _sentence(path: Path, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
    if _is_locked(error):
        return (
            f"The tracking database {path} has been locked for {_WAIT_S:g} s{by_whom(path)}. Wait for it to end, or "
            "end it, and try again."
        )
    if name.startswith("SQLITE_READONLY"):
        return f"The tracking database {path} is read-only. Make it writable. {WAY_OUT}, if it is not yours."
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return (
            f"The tracking database {path} is damaged, or no database ({error}). Put a copy back, or move it away: a "
            f"new one is made then, without its runs and versions. {WAY_OUT}, if that file is something else."
        )
    if name.startswith("SQLITE_FULL"):
        return f"The tracking database {path} cannot grow: the disk is full. Make room."
    return f"The tracking database {path} cannot be used: {error}. {WAY_OUT}."
