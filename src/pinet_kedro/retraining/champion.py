"""The champion as retraining needs it: its model, and what it was trained on."""

import json
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinet_kedro.datasets.manifests import MANIFEST_FILE
from pinet_kedro.datasets.raw_log import ENTRY
from pinet_kedro.errors import InputError
from pinet_kedro.registry.aliases import CHAMPION, read_aliases
from pinet_kedro.registry.loading import LEARNT_UNTIL, SERVED, VersionModels, load_models
from pinet_kedro.registry.versions import UnreadableVersionError
from pinet_kedro.retraining.partitions import RAW_LOG
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.server import sentence

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARTITIONS_FILE = "partitions.json"
# Tags of a version that retraining has registered.
KEY, START, SPLIT, TRAINED_ON = (f"retraining.{name}" for name in ("key", "start", "split", "partitions"))
REFRESH_OF = "refresh.of"  # tag of a refresh: the trained version that it is derived from


@dataclass(frozen=True)
class Champion:
    """The champion, or, if it is a refresh, the trained version behind it: what a training compares and starts with.

    `partitions` (id -> sha256) are what it was trained on, the raw log of the environment under `RAW_LOG`; None if that
    is not known. `refreshed_until`: the newest event that the refresh has counted (ns); None if there is no refresh.
    `raw_log`: how that log was read (`RawLog.description`), None if it is not known.
    """

    version: str
    models: VersionModels
    partitions: dict[str, str] | None
    tags: dict[str, str]
    refreshed_until: int | None = None
    raw_log: dict[str, Any] | None = None

    @property
    def learnt_until(self) -> int:
        """The newest event that is in what it serves, by training or by a refresh (ns); 0 if unknown."""
        return self.refreshed_until or self.models.served_until or 0


@dataclass(frozen=True)
class CurrentChampion:
    """The champion, or none."""

    champion: Champion | None


def reached(registry: Tracking) -> AbstractContextManager[None]:
    """A context for code that needs the registry: an outage ends in one sentence on what it means for the run."""
    return sentence(registry.uri, "No partition of this run counts as taken: the next run starts again.")


def read_champion(registry: Tracking) -> CurrentChampion:
    """The version with the alias `champion`, loaded by this project's code."""
    with reached(registry):
        return _read_champion(registry)


def _read_champion(registry: Tracking) -> CurrentChampion:
    client = tracking.connect(registry)
    version = aliases(client, registry.model).get(CHAMPION)
    if version is None:
        return CurrentChampion(None)
    found = client.get_model_version(registry.model, version)
    until = None
    if origin := found.tags.get(REFRESH_OF):
        until = int(found.tags[LEARNT_UNTIL[SERVED]])
        version, found = origin, client.get_model_version(registry.model, origin)
    try:
        models = load_models(version, registry)
    except UnreadableVersionError as error:
        raise InputError(f"the champion, {error}. 'kedro rollback' restores the one before.") from error
    trained_on, raw_log = _trained_on(client, found)
    return CurrentChampion(Champion(version, models, trained_on, dict(found.tags), until, raw_log))


def _trained_on(client: "MlflowClient", version: Any) -> tuple[dict[str, str] | None, dict[str, Any] | None]:
    """What a version was trained on, as its run has recorded it (retraining in one file, `full` in its manifest), and
    how the raw log was read."""
    entry = (_recorded(client, version, MANIFEST_FILE) or {}).get("lineage", {}).get(ENTRY)
    read_as = None if entry is None else dict(entry["configuration"])
    if KEY in version.tags:
        return _recorded(client, version, PARTITIONS_FILE), read_as
    return None if entry is None else {RAW_LOG: entry["content"]}, read_as


def _recorded(client: "MlflowClient", version: Any, name: str) -> dict[str, Any] | None:
    """The content of a file of the version's run; None if it has no such file."""
    if not version.run_id or name not in {file.path for file in client.list_artifacts(version.run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(client.download_artifacts(version.run_id, name, folder))
        return dict(json.loads(place.read_text(encoding="utf-8")))


def champion_of(client: "MlflowClient", model: str, key: str) -> Any:
    """MLflow's entry of the champion if it has this key; None if it has another one, or if there is no champion.

    Other versions may have the key, too: the same work with another table of items, or done by other code.
    """
    version = aliases(client, model).get(CHAMPION)
    found = None if version is None else client.get_model_version(model, version)
    return found if found is not None and found.tags.get(KEY) == key else None


def aliases(client: "MlflowClient", model: str) -> dict[str, str]:
    """Version of every alias; empty if nothing has been registered yet."""
    if not client.search_registered_models(f"name = '{model}'"):
        return {}
    return read_aliases(client, model)
