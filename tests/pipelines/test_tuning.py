"""`kedro run --pipeline=tuning` with real processes: killed and resumed, shared by workers, used by `--env=tuned`."""

import json
import os
import signal
import sqlite3
import subprocess
import time

import pandas as pd
import pytest
import yaml

from projects import Command

LONG = "tuning.epochs=80,tuning.validate_every=80,backbone_training.schedule.epochs=80"
COMMAND = ("run", "--pipeline=tuning", "--env=test")


def start(project, *arguments):
    """The command in a process group of its own, as a terminal starts it."""
    return Command(project.folder, (*COMMAND, *arguments), project.folder / "command.log")


def wait_for(project, process, seen, seconds=900):
    """Returns when the tracking database satisfies `seen`."""
    until = time.monotonic() + seconds
    while not seen(runs(project)):
        assert process.poll() is None, said(project)
        assert time.monotonic() < until, said(project)
        time.sleep(0.1)


def workers(process):
    """The processes of its workers."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "-o", "args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(line.split()[0]) for line in done.stdout.splitlines() if "multiprocessing.spawn" in line]


def said(project):
    return (project.folder / "command.log").read_text()


def runs(project):
    path = project.folder / "mlflow.db"
    try:
        with sqlite3.connect(path) as database:
            return database.execute("select name, status from runs order by start_time").fetchall()
    except sqlite3.OperationalError:
        return []


def trials(project):
    return pd.read_parquet(project.folder / "data/07_model_output/tuning_trials.parquet")


def record(project):
    return json.loads((project.folder / "data/08_reporting/tuning.json").read_text())


@pytest.fixture(scope="module")
def tuned(new_project, tmp_path_factory):
    """A project after `kedro run --pipeline=tuning --env=test` with two workers."""
    project = new_project(tmp_path_factory.mktemp("tuned"))
    result = project.run("--pipeline=tuning", "--env=test", "--params=tuning.workers=2,tuning.trials=6")
    assert result.exit_code == 0, result.output
    return project


def test_the_tuned_environment_is_used_as_it_is(tuned, caplog):
    result = tuned.run("--pipeline=full", "--env=tuned")
    assert result.exit_code == 0, result.output
    choice = json.loads((tuned.folder / "data/08_reporting/tuning_choice.json").read_text())
    trained = json.loads((tuned.folder / "data/06_models/deconfounded/recommender.json").read_text())["backbone"]
    assert trained == choice["training"]["backbone"]
    users = pd.read_parquet(tuned.folder / "data/04_feature/users.parquet")
    assert len(users) == 150  # the synthetic log of --env=test
    assert "schedule" in yaml.safe_load((tuned.folder / "conf/tuned/parameters.yml").read_text())["backbone_training"]


def test_two_workers_share_the_trials_and_each_is_a_nested_run_with_curve_values_and_state(tuned):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tuned.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pinet")
    table = trials(tuned).set_index("number")
    found = client.search_runs([experiment.experiment_id], "tags.trial != ''")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.pipeline = 'tuning'")
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {parent.info.run_id}
    assert {int(run.data.tags["trial"]) for run in found} == set(table.index)
    assert table["slot"].tolist() == list(range(6))
    assert len({run.data.tags["process.pid"] for run in found}) == 2  # the workers
    for run in found:
        row = table.loc[int(run.data.tags["trial"])]
        assert run.info.status == "FINISHED"
        assert run.data.tags["trial.state"].lower() == row["state"]
        assert run.data.tags["study"] == record(tuned)["study"]
        rate = float(run.data.params["backbone_training.schedule.learning_rate"])
        assert rate == pytest.approx(row["backbone_training.schedule.learning_rate"])
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "loss")]
        assert steps == list(range(1, int(row["epochs"]) + 1))
        if row["state"] == "complete":
            assert run.data.metrics["valid_tail"] == pytest.approx(row["tail"])
    assert "tuning.html" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}


def test_the_page_and_the_figures_are_there_and_fetch_nothing(tuned):
    reporting = tuned.folder / "data/08_reporting"
    page = (reporting / "tuning.html").read_text()
    assert record(tuned)["study"] in page
    assert "<script src=" not in page
    for name in ("history", "importances", "slices", "front"):
        assert json.loads((reporting / f"tuning_{name}.json").read_text())["data"] is not None


def test_a_finished_study_tries_nothing_again_and_says_where_everything_is(tuned, caplog):
    before = trials(tuned)
    with caplog.at_level("INFO", logger="pinet_kedro"):
        result = tuned.run("--pipeline=tuning", "--env=test", "--params=tuning.choose=0,tuning.trials=6")
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(trials(tuned), before)
    output = "\n".join(entry.getMessage() for entry in caplog.records)
    assert "6 of 6 trials are done" in output
    assert "Chosen: trial 0, named by tuning.choose" in output
    assert str(tuned.folder / "conf/tuned/parameters.yml") in output


def test_a_study_that_is_killed_goes_on_and_repeats_nothing(project):
    process = project.fork(*COMMAND, "--params=tuning.trials=4")
    try:
        wait_for(project, process, lambda found: sum(status == "FINISHED" for _, status in found) >= 2)
    finally:
        process.kill()  # kill -9
        process.wait()
    done = project.run("--pipeline=tuning", "--env=test", "--params=tuning.trials=4")
    assert done.exit_code == 0, done.output
    table = trials(project)
    finished = table[table["state"] != "interrupted"]
    assert sorted(finished["slot"]) == [0, 1, 2, 3]
    assert set(finished["state"]) <= {"complete", "pruned"}
    found = runs(project)
    assert "RUNNING" not in [status for _, status in found]
    ended = [name for name, status in found if status == "FINISHED" and name.startswith("trial")]
    recorded = {int(name.removeprefix("trial ")) for name in ended}
    assert recorded <= set(finished["number"])
    # The run of a trial whose process was killed after the study had its result has been closed for it, as FAILED.
    assert len(recorded) >= len(finished) - 1


def test_ctrl_c_puts_the_trial_back_and_leaves_nothing_running(project):
    process = start(project, f"--params={LONG}")
    try:
        wait_for(project, process, lambda found: any(name.startswith("trial") for name, _ in found))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(600)
    assert [status for _, status in runs(project)] == ["KILLED"] * 2
    output = said(project)
    assert "Trials that were finished are stored. Go on with: kedro run --pipeline=tuning" in " ".join(output.split())
    assert "Traceback" not in output
    with sqlite3.connect(project.folder / "data/07_model_output/tuning/studies.db") as database:
        states = [state for (state,) in database.execute("select state from trials order by number")]
    assert states == ["FAIL", "WAITING"]


def test_a_worker_that_is_killed_is_replaced(project):
    process = start(project, f"--params=tuning.workers=2,tuning.trials=3,{LONG}")
    try:
        wait_for(project, process, lambda found: sum(name.startswith("trial") for name, _ in found) >= 2)
        before = workers(process)
        os.kill(before[0], signal.SIGKILL)
        wait_for(project, process, lambda found: sum(name.startswith("trial") for name, _ in found) >= 3)
        wait_for(project, process, lambda _: len(workers(process)) == 2)
        assert before[1] in workers(process)
        # On a busy machine the other worker may have finished its trial before the new one has imported.
        statuses = [status for name, status in runs(project) if name.startswith("trial")]
        assert statuses.count("FAILED") == 1
    finally:
        process.terminate()
        process.wait(600)
    output = said(project)
    assert "A worker of the study has died (exit code -9)" in output
    assert "Traceback" not in output
    assert "RUNNING" not in [status for _, status in runs(project)]


def test_a_name_that_is_no_parameter_is_refused_before_the_first_trial(project):
    path = project.folder / "conf/test/parameters.yml"
    parameters = yaml.safe_load(path.read_text())
    space = parameters["tuning"]["space"]
    space["backbone_training.schedule.lerning_rate"] = {"type": "float", "low": 0.1, "high": 1.0}
    path.write_text(yaml.safe_dump(parameters))
    result = project.run("--pipeline=tuning", "--env=test")
    assert result.exit_code == 1
    assert "lerning_rate" in result.output
    assert "did you mean 'learning_rate'" in result.output
    assert "Traceback" not in result.output
    assert not [name for name in project.files() if "tuning" in name]


def test_a_tracking_server_that_dies_does_not_stop_a_study(project, tmp_path_factory):
    from servers import start_tracking_server

    server = start_tracking_server(tmp_path_factory.mktemp("doomed"))
    process = project.fork(*COMMAND, f"--params=tracking.uri={server.uri},tuning.trials=2")
    try:
        until = time.monotonic() + 900
        while "run_trials" not in said(project) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        server.kill()
    assert process.wait() == 0, said(project)
    assert "Not recorded by the tracking server" in said(project)
    assert trials(project)["state"].isin(["complete", "pruned"]).sum() == 2
