"""Versions of the registered model: find, list, fetch and check them. Free of torch, which takes 1.5 s to import."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public
from pinet_kedro.registry.aliases import read_aliases
from pinet_kedro.registry.digest import DIGEST, TRUSTED, difference, digest_of, listing, settle
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.server import cause, is_outage

if TYPE_CHECKING:
    from mlflow import MlflowClient


class UnreadableVersionError(InputError):
    """The files of a version are not the registered ones, are damaged, or have the format of another release."""


def find_version(wanted: str, config: Tracking) -> str:
    """The version number for an alias such as `champion` or for a number; raises `InputError` if it does not exist."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    client = tracking.connect(config)
    try:
        if wanted.isdecimal():
            return str(client.get_model_version(config.model, wanted).version)
        return str(client.get_model_version_by_alias(config.model, wanted).version)
    except MlflowException as error:
        # MLflow reports a missing alias as an invalid parameter, a missing model or version as a missing resource.
        if error.error_code not in map(ErrorCode.Name, (INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST)):
            raise
        named = f"version {wanted}" if wanted.isdecimal() else f"alias '{wanted}'"
        way_out = (
            "Promote a version (kedro run --pipeline=promotion, or kedro promote NUMBER)"
            if wanted == "champion"
            else "Register one (kedro run --pipeline=full)"
        )
        raise InputError(
            f"the registered model '{config.model}' in {public(config.uri)} has no {named}. {way_out}, or name another "
            "alias or number, such as 'challenger', the newest version."
        ) from error


def fetch_version(version: str, config: Tracking, folder: Path) -> Path:
    """The path of the version's files, copied into `folder`; none of them has been run or parsed.

    They match the digest in the registry; raises `UnreadableVersionError` if they do not.
    """
    files, found = _download(version, config, folder)
    registered = tracking.connect(config).get_model_version(config.model, version)
    digest = registered.tags.get(DIGEST)
    if digest is None:
        raise UnreadableVersionError(
            f"version {version} has no digest of its files: it was registered by an earlier release, or by hand. "
            f"Nothing of it is run. If you know that its files are the trained ones, 'kedro trust {version}' stores "
            "their digest."
        )
    if digest != digest_of(found):
        changes = _changes(registered.run_id, digest, found, config)
        raise UnreadableVersionError(
            f"the files of version {version} are not those that were registered ({changes}). Nothing of them is run: "
            "restore them, or register the model again (kedro run --pipeline=registration)."
        )
    return files


def trust_version(version: str, config: Tracking) -> tuple[str, int] | None:
    """Stores the digest of the version's files; returns it with the number of files.

    None if the version already has a digest that its files match; raises `UnreadableVersionError` if they do not.
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
    """The path of the version's downloaded files, and their list (`digest.listing`)."""
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
    if digest_of(registered) != digest:  # the list is stored with the files and may have been changed with them
        return "their list is gone, or changed too"
    return difference(registered, found)


def list_versions(registry: Tracking) -> list[dict[str, Any]]:
    """All versions, newest first: `version, created, aliases`, and the tags of decision and evaluation."""
    client = tracking.connect(registry)
    aliases = read_aliases(client, registry.model)
    rows = []
    for number in sorted(version_numbers(client, registry.model), key=int, reverse=True):
        found = client.get_model_version(registry.model, number)
        rows.append(
            {
                **found.tags,
                "version": number,
                "created": datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
                "aliases": sorted(alias for alias, version in aliases.items() if version == number),
            }
        )
    return rows


def version_numbers(client: "MlflowClient", model: str) -> set[str]:
    """The numbers of all registered versions."""
    return {str(found.version) for found in client.search_model_versions(f"name = '{model}'", max_results=10_000)}
