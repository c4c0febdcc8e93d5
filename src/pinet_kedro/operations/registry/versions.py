"""Versions of the registered model: found by alias or number, fetched, loaded."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pinet_kedro.errors import InputError
from pinet_kedro.operations.registry import tracking
from pinet_kedro.operations.registry.config import Tracking
from pinet_kedro.operations.registry.server import cause, is_outage
from pinet_kedro.recommender import Recommender


class UnreadableVersionError(InputError):
    """The files of a version are damaged, or of a format that this code does not know."""


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
    """Where the version's files now are, in a folder of the caller's: the registry's own stay untouched."""
    import mlflow

    tracking.connect(config)
    return Path(mlflow.artifacts.download_artifacts(f"models:/{config.model}/{version}", dst_path=str(folder)))


def load_version(version: str, config: Tracking) -> Recommender:
    """The version's recommender, read by this project's code; `UnreadableVersionError` where it cannot be."""
    from mlflow.exceptions import MlflowException
    from safetensors import SafetensorError

    with TemporaryDirectory() as folder:
        try:
            files = fetch_version(version, config, Path(folder)) / "artifacts" / "recommender"
        except (OSError, MlflowException) as error:
            if is_outage(error):
                raise
            raise UnreadableVersionError(f"version {version} cannot be fetched ({cause(error)})") from error
        try:
            return Recommender.load(files)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UnreadableVersionError(
                f"version {version} cannot be read by this code ({type(error).__name__}: {str(error)[:200]})"
            ) from error
