"""The aliases `champion`, `previous` and `challenger`; the first two move together.

MLflow moves one alias at a time. Therefore a move is first recorded as the tag `aliases.moving` of the registered model
(aliases `from` and `to`); then `previous` moves, then `champion`, then the tag is deleted. The tag reveals a move that
was killed, and the next promotion or rollback completes or undoes it (`repair`):

    champion is      the move was      repair
    as in `to`       done              sets `previous` as in `to`, deletes the tag
    as in `from`     not done          sets `previous` as in `from`, the version's tags as in `undone`, deletes the tag
    neither          superseded        deletes the tag: somebody has moved the champion by hand

Readers of `champion` get the old or the new version at any time, never none.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pinet_kedro.errors import InputError
from pinet_kedro.processes.database_lock import hold_in_database, is_postgres
from pinet_kedro.processes.lock import hold
from pinet_kedro.tracking.store import FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"

_MOVING = "aliases.moving"
_WAIT_S = 10.0  # for another move, which takes milliseconds


class ChampionChangedError(InputError):
    """The champion is no longer the version that the decision was based on."""


@dataclass(frozen=True)
class Tagged:
    """Tags that a version gets with a move, and their values if the move is undone (None: no tag)."""

    version: str
    tags: dict[str, str]
    undone: dict[str, str | None]


def read_aliases(client: "MlflowClient", model: str) -> dict[str, str]:
    """The version of each alias; raises `InputError` if the model is not registered."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(
            f"no model '{model}' is registered yet: kedro run --pipeline=full (or registration) registers a version."
        ) from error
    return {alias: str(version) for alias, version in found.aliases.items()}


def move(
    client: "MlflowClient", model: str, champion: str, previous: str | None, expected: str | None, tagged: Tagged
) -> None:
    """Sets `champion` and `previous` (None: no such alias) to these versions, and tags the version named by `tagged`.

    Raises `ChampionChangedError`, and moves nothing, if the champion is no longer `expected`.
    """
    with _alone(client):
        _repair(client, model)
        before = read_aliases(client, model)
        if before.get(CHAMPION) != expected:
            raise ChampionChangedError(
                f"the champion was {_named(expected)} when this was decided and is {_named(before.get(CHAMPION))} now: "
                "nothing was moved"
            )
        after = {CHAMPION: champion, PREVIOUS: previous}
        undone = {"version": tagged.version, "tags": tagged.undone}
        moving = {"from": {alias: before.get(alias) for alias in after}, "to": after, "undone": undone}
        client.set_registered_model_tag(model, _MOVING, json.dumps(moving))
        _tag(client, model, tagged.version, tagged.tags)
        _set(client, model, PREVIOUS, previous)
        _set(client, model, CHAMPION, champion)
        client.delete_registered_model_tag(model, _MOVING)


def repair(client: "MlflowClient", model: str) -> str | None:
    """A sentence on how an interrupted move was completed or undone; None if there was none."""
    with _alone(client):
        return _repair(client, model)


def tag_unless_champion(client: "MlflowClient", model: str, version: str, tags: Mapping[str, str]) -> bool:
    """Whether the version got these tags; it keeps its own if it is the champion now.

    Two processes may decide on one version at the same time: a refusal must not replace the record of the promotion.
    """
    with _alone(client):
        if read_aliases(client, model).get(CHAMPION) == version:
            return False
        _tag(client, model, version, tags)
        return True


def _alone(client: "MlflowClient") -> AbstractContextManager[None]:
    """Excludes other moves: of every project that uses this database, or else of this project's folder.

    A lock of PostgreSQL is shared by machines, one beside a database file by those of its file system. An HTTP server
    has no lock that its clients could share.
    """
    uri = client.tracking_uri
    if is_postgres(uri):
        return hold_in_database(uri, "aliases", _WAIT_S)
    beside = Path(f"{uri.removeprefix(FILE)}.aliases.lock") if uri.startswith(FILE) else None
    return hold("aliases", _WAIT_S, path=beside)


def _repair(client: "MlflowClient", model: str) -> str | None:
    now = read_aliases(client, model)
    found = client.get_registered_model(model).tags.get(_MOVING)
    if found is None:
        return None
    moving = json.loads(found)
    before, after = moving["from"], moving["to"]
    version = after[CHAMPION]
    if now.get(CHAMPION) == version:
        _set(client, model, PREVIOUS, after[PREVIOUS])
        outcome = f"a move of the champion to version {version} that had been interrupted was finished"
    elif now.get(CHAMPION) == before[CHAMPION]:
        _set(client, model, PREVIOUS, before[PREVIOUS])
        _tag(client, model, moving["undone"]["version"], moving["undone"]["tags"])
        outcome = f"a move of the champion to version {version} that had been interrupted was undone"
    else:
        outcome = f"a move of the champion to version {version} had been interrupted; the champion has been moved since"
    client.delete_registered_model_tag(model, _MOVING)
    return outcome


def _set(client: "MlflowClient", model: str, alias: str, version: str | None) -> None:
    if version is None:
        client.delete_registered_model_alias(model, alias)
    else:
        client.set_registered_model_alias(model, alias, version)


def _tag(client: "MlflowClient", model: str, version: str, tags: Mapping[str, str | None]) -> None:
    for key, value in tags.items():
        if value is None:
            client.delete_model_version_tag(model, version, key)
        else:
            client.set_model_version_tag(model, version, key, value)


def _named(version: str | None) -> str:
    return f"version {version}" if version else "no version"
