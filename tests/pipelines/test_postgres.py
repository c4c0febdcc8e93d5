"""Two project folders, as two machines, on one PostgreSQL server: MLflow, the lock of promotions, and Optuna."""

import multiprocessing
import os
import re
import signal
from collections import Counter

import pytest
import yaml
from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from pinet_kedro.errors import InputError
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.processes.database_lock import hold_in_database
from pinet_kedro.processes.lock import LockedError
from pinet_kedro.registry.aliases import CHAMPION, PREVIOUS, ChampionChangedError, Tagged, move, read_aliases
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.database import check_server
from pinet_kedro.tracking.recording import end_run
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.tracking.runs import connect, start_run
from pinet_kedro.training.config import BackboneTraining
from postgres import PASSWORD, start_postgres

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def postgres():
    with start_postgres() as server:
        yield server


@pytest.fixture
def two_folders(finished, tmp_path):
    """Two copies of a finished project; `configure` gives both the same parameters."""
    folders = [finished.copy(tmp_path / name) for name in ("a", "b")]

    def configure(**parameters):
        for folder in folders:
            path = folder.folder / "conf/test/parameters.yml"
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | parameters))
        return folders

    return configure


def written(folder):
    """What the commands of a project have stored or logged, as far as it is text."""
    files = [path for path in [*folder.rglob("data/**/*"), *folder.glob("*.log")] if path.is_file()]
    return "".join(path.read_text(errors="ignore") for path in files if path.suffix not in (".npy", ".safetensors"))


def test_what_one_machine_registers_the_other_promotes_and_uses(postgres, two_folders, tmp_path, own_address):
    tracking = {"uri": postgres.database("mlflow"), "artifacts": str(tmp_path / "shared")}
    first, second = two_folders(tracking=tracking)
    registered = first.run("--pipeline=registration", "--env=test")
    promoted = second.invoke("promote", "--env=test")
    answered = first.run("--pipeline=batch_inference", "--env=test")
    unknown = first.invoke("recommend", "u00003", "--env=test", "--version=7")
    assert (registered.exit_code, promoted.exit_code, answered.exit_code) == (0, 0, 0), promoted.output
    assert "Promoted: pinet version 1 is the champion." in promoted.output
    assert unknown.exit_code == 1
    assert "in postgresql://…@127.0.0.1" in unknown.output
    run, *_ = MlflowClient(tracking["uri"]).search_runs(["1"])
    assert run.data.params["tracking.uri"].startswith("postgresql://…@127.0.0.1")
    texts = [written(folder.folder) for folder in (first, second)] + [r.output for r in (registered, promoted, unknown)]
    assert not [text for text in texts if PASSWORD in text or PASSWORD.replace("/", "%2F") in text]


def test_files_stay_on_the_machine_with_a_warning_and_do_not_move(postgres, tmp_path, monkeypatch, caplog, own_address):
    monkeypatch.chdir(tmp_path)
    tracking = Tracking(uri=postgres.database("alone"))
    run = start_run(RunInfo("full", "local", "0000", tracking), {})
    place = (tmp_path / "mlartifacts").as_uri()
    assert MlflowClient(tracking.uri).get_experiment(run.mlflow.experiment_id).artifact_location == place
    assert f"keeps its files in {place}: other machines" in caplog.text
    end_run(run, "FINISHED")
    elsewhere = tracking.model_copy(update={"artifacts": "s3://elsewhere/pinet"})
    with pytest.raises(InputError, match="is s3://elsewhere/pinet, but the experiment 'pinet' keeps its files in"):
        start_run(RunInfo("full", "local", "0000", elsewhere), {})


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("postgres", "wrong", 'password authentication failed for user "pinet"'),
        ("nowhere", PASSWORD, 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_cannot_be_used_is_a_sentence_at_once(postgres, name, password, words):
    with pytest.raises(InputError, match=words) as error:
        connect(Tracking(uri=postgres.address(name, password)))
    assert password not in str(error.value).replace(words, "")


def test_two_first_users_of_an_empty_database_do_not_meet(postgres):
    uri = postgres.database("fresh")
    processes = [FORK.Process(target=check_server, args=(uri,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert MlflowClient(uri).get_experiment("0").name == "Default"


def test_half_a_schema_is_waited_for_while_another_process_makes_it(postgres):
    uri = postgres.database("half")
    with hold_in_database(uri, "schema", 10), create_engine(uri, isolation_level="AUTOCOMMIT").connect() as half:
        half.execute(text("CREATE TABLE experiments (id INTEGER)"))
        other = FORK.Process(target=check_server, args=(uri,))
        other.start()
        other.join(2)
        half.execute(text("DROP TABLE experiments"))
        MlflowClient(uri)
    other.join(60)
    assert other.exitcode == 0


def test_a_study_of_optuna_in_the_database_is_recognised(postgres):
    import optuna

    uri = postgres.database("studies")
    optuna.storages.RDBStorage(uri)
    with pytest.raises(InputError, match="is of something else, not of MLflow"):
        connect(Tracking(uri=uri))


def _hold(uri, held):
    with hold_in_database(uri, "aliases", 0):
        held.set()
        signal.pause()


def test_the_lock_names_its_holder_and_ends_with_its_process(postgres, monkeypatch):
    uri, held = postgres.database("locks"), FORK.Event()
    monkeypatch.setattr("sys.argv", ["kedro", "promote", "3"])
    holder = FORK.Process(target=_hold, args=(uri, held))
    holder.start()
    try:
        assert held.wait(60)
        holds = rf"The lock 'aliases' is held by process {holder.pid} on \S+ \(kedro promote 3\) since "
        with pytest.raises(LockedError, match=holds), hold_in_database(uri, "aliases", 0):
            pass
        with hold_in_database(uri, "tuning", 0):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        with hold_in_database(uri, "aliases", 60):
            pass
    finally:
        holder.kill()


def _register(uri, folder):
    client = connect(Tracking(uri=uri))
    client.create_registered_model("pinet")
    for _ in range(3):
        client.create_model_version("pinet", str(folder))
    client.set_registered_model_alias("pinet", CHAMPION, "1")


def _compete(uri, begin, results):
    """Moves the champion thirty times from what was the champion before; sends the moves that were carried out."""
    client, done = connect(Tracking(uri=uri)), []
    begin.wait(60)
    for turn in range(30):
        before = read_aliases(client, "pinet")[CHAMPION]
        after = str((int(before) + turn % 2) % 3 + 1)  # one on, or one back
        try:
            move(client, "pinet", after, before, expected=before, tagged=Tagged(after, {"by": str(os.getpid())}, {}))
            done.append((before, after))
        except ChampionChangedError:
            pass
    results.send(done)


def test_promotions_and_rollbacks_of_two_machines_follow_one_another(postgres, tmp_path):
    """Every move that was answered with success began where another one had ended: together they are one path."""
    uri, begin = postgres.database("competition"), FORK.Barrier(2)
    registration = FORK.Process(target=_register, args=(uri, tmp_path))  # forks must not share connections
    registration.start()
    registration.join(120)
    receiver, sender = FORK.Pipe(duplex=False)
    processes = [FORK.Process(target=_compete, args=(uri, begin, sender)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    moves = [*receiver.recv(), *receiver.recv()]
    client = connect(Tracking(uri=uri))
    aliases = read_aliases(client, "pinet")
    entered, left = Counter(after for _, after in moves), Counter(before for before, _ in moves)
    left[aliases[CHAMPION]] += 1  # the end of the path
    entered["1"] += 1  # and its beginning
    assert len(moves) >= 20
    assert entered == left
    assert (aliases[PREVIOUS], aliases[CHAMPION]) in moves
    assert "aliases.moving" not in client.get_registered_model("pinet").tags


def _begin_study(plan, begin):
    begin.wait(60)
    plan.study()


def test_two_machines_that_begin_a_study_at_once_make_it_once(postgres, planted_world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"backbone_training.schedule.learning_rate": {"type": "float", "low": 1e-3, "high": 2e-2}}
    config = Tuning.model_validate({"storage": postgres.database("study"), "space": space})
    training, plugins, begin = BackboneTraining(), PluginTraining(), FORK.Barrier(2)
    plans = [StudyPlan(config, training, plugins, planted_world.dataset, tmp_path / name) for name in ("a", "b")]
    processes = [FORK.Process(target=_begin_study, args=(plan, begin)) for plan in plans]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(plans[0].study().get_trials()) == 1  # the shipped configuration


def test_two_folders_share_the_trials_of_one_study(postgres, two_folders, own_address):
    uri = postgres.database("trials")
    parameters = yaml.safe_load((two_folders()[0].folder / "conf/test/parameters.yml").read_text())
    folders = two_folders(tuning=parameters["tuning"] | {"storage": uri, "trials": 4})
    commands = [folder.fork("run", "--pipeline=tuning", "--env=test") for folder in folders]
    assert [command.wait() for command in commands] == [0, 0], [command.said for command in commands]
    trials = [set(re.findall(r"Trial (\d+): ", command.said)) for command in commands]
    assert trials[0] | trials[1] == {"0", "1", "2", "3"}
    assert not trials[0] & trials[1]
    for folder, command in zip(folders, commands, strict=True):
        assert "postgresql://…@127.0.0.1" in command.said
        assert PASSWORD.replace("/", "%2F") not in written(folder.folder)
