"""What the tracking database says of a run that was stopped from outside; the runs are real processes."""

import os
import signal
import sqlite3
import time
from multiprocessing import Pipe

import mlflow
import pytest

from projects import Command, act_at, kill_at


def start(project):
    """A `kedro run` that is at its first training and has some way to go, and the file of what it says."""
    said = project.folder / "command.log"
    long = "--params=backbone_training.schedule.epochs=100000"
    process = Command(project.folder, ("run", "--pipeline=full", "--env=test", long), said)
    until = time.monotonic() + 300
    while "train_ba" not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < until, said.read_text()
        time.sleep(0.05)
    return process, said


def fork_at_work(project):
    """A run that stops where the training begins, and where it says that it is there."""
    at_work, say = Pipe(duplex=False)

    def stop():
        say.send("at work")
        signal.pause()

    process = project.fork("run", "--pipeline=full", "--env=test", first=lambda: act_at("train_backbones", stop))
    return at_work, process


def written(project):
    """When each file of the data stages was written."""
    folders = [project.folder / "data" / name for name in ("02_intermediate", "04_feature", "05_model_input")]
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def statuses(project):
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        return [row for (row,) in database.execute("select status from runs order by start_time")]


@pytest.mark.parametrize(("number", "named"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_run_that_is_told_to_end_is_recorded_as_killed_and_says_how_to_go_on(project, number, named):
    process, said = start(project)
    os.kill(process.pid, number)
    assert process.wait(300) == 128 + number
    output = " ".join(said.read_text().split())
    assert "Traceback" not in output
    assert "Stored in data/: the results of data_validation.clean_events, " in output
    assert "Go on with: kedro run --pipeline=full --env=test --from-nodes=backbone_training.train_backbones" in output
    assert output.endswith(f"Stopped by {named}.")
    assert statuses(project) == ["KILLED"]
    assert not (project.folder / "data/locks/run.lock").read_text()  # the next run has nothing to take over


def test_the_next_run_closes_one_that_was_killed_and_leaves_one_alone_that_is_going(
    project, new_project, tmp_path_factory
):
    other = new_project(tmp_path_factory.mktemp("other"))  # of the same tracking database
    at_work, process = fork_at_work(project)
    try:
        assert at_work.poll(300)
        uri = f"--params=tracking.uri=sqlite:///{project.folder / 'mlflow.db'}"
        assert other.run("--pipeline=data_validation", "--env=test", uri).exit_code == 0
        assert statuses(project) == ["RUNNING", "FINISHED"]

        before = written(project)
        refused = project.run("--pipeline=tuning", "--env=test")
        assert refused.exit_code == 1
        assert f"held by process {process.pid} on" in refused.output
        assert "--pipeline=full --env=test" in refused.output
        assert "since 20" in refused.output
        assert "--params=tuning.workers=N" in refused.output
        assert "Traceback" not in refused.output
        assert written(project) == before  # nothing is recorded of a run that is refused either
        assert statuses(project) == ["RUNNING", "FINISHED"]
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert statuses(project) == ["RUNNING", "FINISHED"]
    assert project.run("--pipeline=data_validation", "--env=test").exit_code == 0
    assert statuses(project) == ["FAILED", "FINISHED", "FINISHED"]


def test_after_a_kill_around_the_refit_no_half_of_a_model_is_registered(own_copy, own_address):
    """Of the models of a version, then of model and evaluation, one is of this run and one of the run before."""
    test, database = ("--env=test", "--params=backbone_training.seed=7"), f"sqlite:///{own_copy.folder / 'mlflow.db'}"
    for node, begin in (("refit_on_everything", ()), ("rank_targets", ("--from-nodes=refit.plan_refit",))):
        kill_at(own_copy, node, "--pipeline=full", *test, *begin)
        result = own_copy.run("--pipeline=registration", *test)
        assert result.exit_code == 1, result.output
        assert "kedro run --pipeline=" in result.output
        assert len(mlflow.MlflowClient(database).search_model_versions("name = 'pinet'")) == 1
