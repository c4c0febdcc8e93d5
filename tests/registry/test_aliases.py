"""Champion and previous move together or not at all: against a real registry, with real kills and real rivals."""

import os
import shutil
import signal
import sys
from functools import partial

import mlflow
import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.processes.lock import LockedError, hold
from pinet_kedro.registry import aliases as registry_aliases
from pinet_kedro.registry.aliases import (
    ChampionChangedError,
    Tagged,
    move,
    read_aliases,
    repair,
    tag_unless_champion,
)
from pinet_kedro.tracking import store
from projects import Fork

BEFORE, AFTER = {"champion": "2", "previous": "1"}, {"champion": "3", "previous": "2"}
TAGGED = Tagged("3", {"decision": "promoted"}, undone={"decision": "interrupted"})


def promote(database, version, kill_at=None):
    """Moves the champion from version 2 to this one, in a process that is killed before its nth write."""
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    writes = 0

    def dying(call):
        def write(*given, **named):
            nonlocal writes
            if writes == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            writes += 1
            return call(*given, **named)

        return write

    for name in ("set_registered_model_tag", "set_model_version_tag", "set_registered_model_alias",
                 "delete_registered_model_tag"):  # fmt: skip
        setattr(mlflow.MlflowClient, name, dying(getattr(mlflow.MlflowClient, name)))
    tagged = Tagged(version, {"decision": "promoted"}, undone={"decision": "interrupted"})
    try:
        move(mlflow.MlflowClient(), "m", version, "2", "2", tagged)
    except ChampionChangedError:
        sys.exit(7)


def exit_codes(works):
    """Of processes that do this at once."""
    return [process.wait() for process in [Fork(work) for work in works]]


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A registry with versions 1 to 5 of one model, of which 2 is the champion and 1 the one before."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    store._make(path)
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    client = mlflow.MlflowClient()
    client.create_registered_model("m")
    for _ in range(5):
        client.create_model_version("m", "file:///nowhere")
    for alias, version in BEFORE.items():
        client.set_registered_model_alias("m", alias, version)
    return path


@pytest.fixture
def client(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return open_copy(registered, tmp_path / "mlflow.db")


def open_copy(registered, path):
    shutil.copy(registered, path)
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    return mlflow.MlflowClient()


def test_a_move_takes_both_aliases_and_leaves_no_journal(client):
    move(client, "m", "3", "2", "2", TAGGED)
    assert read_aliases(client, "m") == AFTER
    assert client.get_model_version("m", "3").tags["decision"] == "promoted"
    assert client.get_registered_model("m").tags == {}
    assert repair(client, "m") is None


def test_no_previous_takes_its_alias_away(client):
    move(client, "m", "1", None, "2", TAGGED)
    assert read_aliases(client, "m") == {"champion": "1"}


def test_a_champion_that_somebody_else_moved_is_left_alone(client):
    client.set_registered_model_alias("m", "champion", "4")
    with pytest.raises(ChampionChangedError, match="was version 2 when this was decided and is version 4 now"):
        move(client, "m", "3", "2", "2", TAGGED)
    assert read_aliases(client, "m") == {"champion": "4", "previous": "1"}
    assert "decision" not in client.get_model_version("m", "3").tags


@pytest.mark.slow
def test_a_move_that_is_killed_anywhere_is_finished_or_undone(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / f"{write}.db" for write in range(5)]
    for file in files:
        shutil.copy(registered, file)
    assert exit_codes(partial(promote, file, "3", write) for write, file in enumerate(files)) == [-signal.SIGKILL] * 5
    found = []
    for file in files:
        mlflow.set_tracking_uri(f"sqlite:///{file}")
        client = mlflow.MlflowClient()
        assert read_aliases(client, "m")["champion"] in ("2", "3")
        repaired = repair(client, "m")
        outcome = repaired.rpartition(" ")[2] if repaired else "nothing"
        found.append((outcome, read_aliases(client, "m"), client.get_model_version("m", "3").tags.get("decision")))
        assert client.get_registered_model("m").tags == {}
        assert repair(client, "m") is None
    assert found == [
        ("nothing", BEFORE, None),  # before the journal
        ("undone", BEFORE, "interrupted"),
        ("undone", BEFORE, "interrupted"),
        ("undone", BEFORE, "interrupted"),  # previous had moved
        ("finished", AFTER, "promoted"),  # champion had moved
    ]


@pytest.mark.slow
def test_of_rivals_for_one_champion_one_wins(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = open_copy(registered, tmp_path / "mlflow.db")
    codes = exit_codes(partial(promote, tmp_path / "mlflow.db", version) for version in "345")
    assert sorted(codes) == [0, 7, 7]
    winner = str(codes.index(0) + 3)
    assert read_aliases(client, "m") == {"champion": winner, "previous": "2"}
    decided = [v for v in "345" if client.get_model_version("m", v).tags.get("decision")]
    assert decided == [winner]


def test_projects_of_one_database_share_the_lock(client, tmp_path, monkeypatch):
    with hold("aliases", path=tmp_path / "mlflow.db.aliases.lock"):
        monkeypatch.chdir(tmp_path.parent)  # another project's folder
        monkeypatch.setattr(registry_aliases, "_WAIT_S", 0.0)
        with pytest.raises(LockedError):
            move(client, "m", "3", "2", "2", TAGGED)
    assert read_aliases(client, "m") == BEFORE


def test_the_tags_of_a_champion_are_kept(client):
    assert not tag_unless_champion(client, "m", "2", {"decision": "refused"})
    assert tag_unless_champion(client, "m", "3", {"decision": "refused"})
    found = [client.get_model_version("m", version).tags.get("decision") for version in "23"]
    assert found == [None, "refused"]


def test_a_model_that_is_not_registered_is_named(client):
    with pytest.raises(InputError, match="no model 'other' is registered yet"):
        read_aliases(client, "other")
