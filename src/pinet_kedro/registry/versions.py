"""Versions of the registered model: found by alias or number, fetched and checked, loaded."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pinet_kedro.errors import InputError
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.digest import DIGEST, TRUSTED, difference, digest_of, listing, settle
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.server import cause, is_outage


class UnreadableVersionError(InputError):
    """The files of a version are not those that were registered, are damaged, or have a format of another release."""


def find_version(wanted: str, config: Tracking) -> str:
    """Number of the version that an alias such as `champion`, or a number, names; `InputError` where there is none."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    client = tracking.connect(config)
    try:
        if wanted.isdecimal():
            return str(client.get_model_version(config.model, wanted).version)
        return str(client.get_model_version_by_alias(config.model, wanted).version)
    except MlflowException as error:
        # A missing alias is an invalid parameter to MLflow, a missing model or version a missing resource.
        if error.error_code not in map(ErrorCode.Name, (INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST)):
            raise
        named = f"version {wanted}" if wanted.isdecimal() else f"alias '{wanted}'"
        way_out = (
            "Promote a version (kedro run --pipeline=promotion, or kedro promote NUMBER)"
            if wanted == "champion"
            else "Register one (kedro run --pipeline=full)"
        )
        raise InputError(
            f"the registered model '{config.model}' in {config.uri} has no {named}. {way_out}, or name another alias "
            "or number, such as 'challenger', the newest version."
        ) from error


def fetch_version(version: str, config: Tracking, folder: Path) -> Path:
    """Where the version's files now are, in a folder of the caller's; nothing of them has been run or parsed.

    They are what was registered, by the digest that the registry keeps: `UnreadableVersionError` where they are not.
    """
    files, found = _download(version, config, folder)
    registered = tracking.connect(config).get_model_version(config.model, version)
    digest = registered.tags.get(DIGEST)
    if digest is None:
        raise UnreadableVersionError(
            f"version {version} has no digest of its files: it was registered by an earlier release, or by hand. "
            f"Nothing of it is run; if you know that its files are what was trained, 'kedro trust {version}' stores "
            "their digest as they are now."
        )
    if digest != digest_of(found):
        changes = _changes(registered.run_id, digest, found, config)
        raise UnreadableVersionError(
            f"the files of version {version} are not those that were registered ({changes}). Nothing of them is run; "
            "restore them, or register the model again (kedro run --pipeline=registration)."
        )
    return files


def trust_version(version: str, config: Tracking) -> tuple[str, int] | None:
    """The digest that the version has from now on, of its files as they are, and their number.

    None where it has one already, and its files are the registered ones; `UnreadableVersionError` where they are not.
    """
    client = tracking.connect(config)
    registered = client.get_model_version(config.model, version)
    with TemporaryDirectory() as folder:
        if DIGEST in registered.tags:
            fetch_version(version, config, Path(folder))
            return None
        _, found = _download(version, config, Path(folder))
    digest = digest_of(found)
    if registered.run_id:
        client.log_text(registered.run_id, found, DIGEST)
    client.set_model_version_tag(config.model, version, TRUSTED, datetime.now(UTC).isoformat(timespec="seconds"))
    client.set_model_version_tag(config.model, version, DIGEST, digest)
    return digest, found.count("\n")


def _download(version: str, config: Tracking, folder: Path) -> tuple[Path, str]:
    """Where the version's files now are, and their listing."""
    import mlflow
    from mlflow.exceptions import MlflowException

    tracking.connect(config)
    uri = f"models:/{config.model}/{version}"
    try:
        files = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
        return files, listing(settle(files))
    except (MlflowException, OSError, ValueError) as error:
        if is_outage(error):
            raise
        raise UnreadableVersionError(f"the files of version {version} cannot be fetched: {cause(error)}.") from error


def _changes(run_id: str | None, digest: str, found: str, config: Tracking) -> str:
    from mlflow.exceptions import MlflowException

    registered = ""
    with TemporaryDirectory() as folder, suppress(MlflowException, OSError, ValueError):
        if run_id:
            path = tracking.connect(config).download_artifacts(run_id, DIGEST, folder)
            registered = Path(path).read_text(encoding="utf-8")
    if digest_of(registered) != digest:  # it lies where they lie, and may have been changed with them
        return "their list is gone, or changed too"
    return difference(registered, found)


def load_version(version: str, config: Tracking) -> Recommender:
    """The version's recommender, read by this project's code; `UnreadableVersionError` where it cannot be."""
    with TemporaryDirectory() as folder:
        return read_version(version, fetch_version(version, config, Path(folder)))


def read_version(version: str, files: Path) -> Recommender:
    """The recommender in the files of a version, which `fetch_version` has fetched; errors as of `load_version`."""
    from safetensors import SafetensorError

    try:
        return Recommender.load(files / "artifacts" / "recommender")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnreadableVersionError(
            f"version {version} cannot be read by this code ({type(error).__name__}: {str(error)[:200]})"
        ) from error
