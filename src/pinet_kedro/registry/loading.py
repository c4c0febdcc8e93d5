"""Loads the recommender of a registered version with this project's code."""

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.versions import UnreadableVersionError, fetch_version
from pinet_kedro.tracking.config import Tracking


def load_version(version: str, config: Tracking) -> Recommender:
    """The version's recommender, read by this project's code; raises `UnreadableVersionError` if that fails."""
    with TemporaryDirectory() as folder:
        return read_version(version, fetch_version(version, config, Path(folder)))


def read_version(version: str, files: Path) -> Recommender:
    """The recommender in a version's files, fetched by `fetch_version`; raises the same errors as `load_version`."""
    try:
        return Recommender.load(files / "artifacts" / "recommender")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnreadableVersionError(
            f"version {version} cannot be read by this code ({type(error).__name__}: {str(error)[:200]})"
        ) from error
