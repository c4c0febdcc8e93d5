"""The retraining loop on small partitions, each run a real one; those that are killed are processes of their own."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.pipeline_registry import register_pipelines
from pinet_kedro.processes.lock import hold
from pinet_kedro.project import project_folder
from projects import AtNode, kill_at
from servers import start_tracking_server

pytestmark = pytest.mark.usefixtures("own_address")

ROOT = Path(__file__).parents[2]
RETRAIN = ("--pipeline=retraining", "--env=test")
YEAR = 364 * 86_400


def year_of_events():
    """Every user is active all year round, so that a cut in time leaves most of them a history and a target."""
    events = generate_interactions(SyntheticLog(users=150, items=60, seed=1))[["user_id", "item_id", "timestamp"]]
    users = events.groupby("user_id", sort=False)
    share = (users.cumcount() + 0.5) / users["item_id"].transform("size")
    return events.assign(timestamp=1_600_000_000 + (share * YEAR).astype("int64") + np.arange(len(events)))


def deliver(project, name, since, until):
    """The events of this part of the year (0 to 1) as one partition."""
    events = year_of_events()
    share = (events["timestamp"] - 1_600_000_000) / YEAR
    folder = project.folder / "data/01_raw/interactions"
    folder.mkdir(parents=True, exist_ok=True)
    events[(share >= since) & (share < until)].to_csv(folder / name, index=False)


def registry(project):
    return mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")


def state(project):
    """What a run leaves that must not depend on how often it was interrupted."""
    client = registry(project)
    accepted = project.folder / "data/02_intermediate/accepted"
    steady = ("data.sha256", "ndcg_at_10", "gain_over_base", "retraining", "decision.against")
    return {
        "taken": {name: s["sha256"] for name, s in read(project, "data/01_raw/interactions/.taken.json").items()},
        "accepted": {path.name: len(pd.read_parquet(path)) for path in accepted.iterdir()},
        "clean": pd.read_parquet(project.folder / "data/retraining/02_intermediate/clean_events.parquet").to_csv(),
        "aliases": {alias: str(v) for alias, v in client.get_registered_model("pinet").aliases.items()},
        "versions": [
            {key: value for key, value in version.tags.items() if any(name in key for name in steady)}
            for version in client.search_model_versions("name = 'pinet'")
        ],
    }


def read(project, path):
    return json.loads((project.folder / path).read_text())


@pytest.fixture(scope="module")
def first(new_project, tmp_path_factory):
    """A project after its first partition, what the command said, and what was there then."""
    project = new_project(tmp_path_factory.mktemp("first"))
    deliver(project, "a.csv", 0.0, 0.6)
    result = project.run(*RETRAIN)
    assert result.exit_code == 0, result.output
    page = project.folder / "data/08_reporting/retraining.json"
    return project, result, state(project), json.loads(page.read_text())


@pytest.fixture(scope="module")
def second(first):
    """… after a second one that came with a bad one, and what was there before."""
    project, _, before, _ = first
    deliver(project, "b.csv.gz", 0.6, 0.85)
    (project.folder / "data/01_raw/interactions/c.csv").write_text("user_id,item_id,timestamp\nu,i,5\n")
    return project, project.run(*RETRAIN), before


def test_the_first_round_has_no_champion_and_starts_cold(first):
    _, result, _, done = first
    assert done["start"].startswith("cold: there is no champion yet")
    assert done["drift"]["missing"] == ["there is no champion yet: nothing to drift from"]
    assert done["promotion"]["against"] == "popularity"
    assert "Promoted: pinet version 1 is the champion." in result.output


def test_a_round_says_what_users_took_or_why_that_is_not_known(first):
    project, _, _, done = first
    [sentence] = done["feedback"]
    assert sentence.startswith("Feedback: not measured: no answer to a user is logged in data/09_feedback")
    assert sentence in (project.folder / "data/08_reporting/retraining.html").read_text()
    assert sentence in (project.folder / "data/08_reporting/feedback.html").read_text()


def test_retraining_has_rooms_of_its_own(first):
    """Its files are an analyst's only where no stage of `full` writes."""
    project, *_ = first
    stages = register_pipelines()["full"].all_outputs()
    data = project.folder / "data"
    assert (data / "retraining/05_model_input/dataset").is_dir()
    assert (data / "retraining/08_reporting/report.html").is_file()
    assert (data / "retraining/08_reporting/data_docs/index.html").is_file()
    assert {"dataset", "base_model", "report", "evaluation"} <= stages
    for path in ("05_model_input/dataset", "06_models", "08_reporting/report.html", "08_reporting/evaluation.json",
                 "08_reporting/data_docs", "02_intermediate/clean_events.parquet"):  # fmt: skip
        assert not list(data.glob(f"{path}/*")), path
        assert not (data / path).is_file(), path


def test_batch_inference_answers_for_the_users_of_the_latest_retraining(second):
    project, *_ = second
    done = project.run("--pipeline=retraining_batch_inference", "--env=test")
    assert done.exit_code == 0, done.output
    answered = pd.read_parquet(project.folder / "data/07_model_output/recommendations.parquet")["user_id"].nunique()
    assert answered == len(pd.read_parquet(project.folder / "data/retraining/04_feature/users.parquet"))


def test_the_second_round_measures_drift_and_starts_from_the_champion(second):
    project, result, before = second
    assert result.exit_code in (0, 3), result.output
    done = read(project, "data/08_reporting/retraining.json")
    drift = read(project, "data/08_reporting/drift.json")
    assert done["start"].startswith("warm: from version 1, 1 epoch instead of 3")
    assert drift["model"] == "1"
    assert drift["reference"]["events"] == before["accepted"]["a.csv.parquet"]
    assert drift["window"]["events"] == done["intake"]["arrivals"][0]["events"]
    assert drift["unknown_users"] == 0
    assert set(drift["groups"]) >= {"all", "head", "tail"}
    assert drift["then"]["tail"] == pytest.approx(float(before["versions"][0]["tail.ndcg_at_10"]))
    assert read(project, "data/retraining/08_reporting/evaluation.json")["protocol"]["split"] == "global_time"


def test_the_bad_partition_is_set_aside_and_on_the_page(second):
    project, _, _ = second
    raw = project.folder / "data/01_raw"
    assert (raw / "rejected/c.csv").exists()
    assert "older than 1990" in (raw / "rejected/c.csv.txt").read_text()
    assert list(state(project)["taken"]) == ["a.csv", "b.csv.gz"]
    page = (project.folder / "data/08_reporting/retraining.html").read_text()
    assert "set aside: data/01_raw/rejected/c.csv" in page
    assert "Popularity shift" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_the_version_says_what_it_was_trained_on(second, tmp_path):
    project, _, _ = second
    client = registry(project)
    version = client.get_model_version_by_alias("pinet", "challenger")
    assert version.tags["retraining.partitions"] == "2: a.csv … b.csv.gz"
    assert version.tags["retraining.start"].startswith("warm")
    client.download_artifacts(version.run_id, "partitions.json", str(tmp_path))
    assert json.loads((tmp_path / "partitions.json").read_text()) == state(project)["taken"]


def test_nothing_new_ends_at_once_without_a_run_and_with_exit_code_0(second):
    project, _, _ = second
    before = state(project), len(registry(project).search_runs(["1"]))
    script = f"""
import sys
sys.argv = ["kedro", "run", *{RETRAIN!r}]
from pinet_kedro.__main__ import main
try:
    main()
finally:
    print(sorted({{"torch", "mlflow", "great_expectations", "optuna"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Nothing new: all 2 partitions have been taken before.", "[]"]
    assert before == (state(project), len(registry(project).search_runs(["1"])))


def test_an_empty_folder_is_nothing_new_either(project):
    result = project.run(*RETRAIN)
    assert result.exit_code == 0
    assert result.output.endswith(f"Nothing new: there is no file in {project.folder / 'data/01_raw/interactions'}.\n")
    assert not (project.folder / "mlflow.db").exists()


def test_a_second_run_is_told_who_holds_the_lock(second, monkeypatch):
    project, _, _ = second
    monkeypatch.chdir(project.folder)
    with hold("run"):
        result = project.run(*RETRAIN)
    assert result.exit_code == 1
    assert f"held by process {os.getpid()} on" in result.output
    assert project_folder() == project.folder


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def test_whatever_is_killed_ends_as_if_nothing_had_been(first, project):
    """Killed with partitions accepted, in training, after registration, and between the champion and the checkpoint."""
    deliver(project, "a.csv", 0.0, 0.6)
    taken = project.folder / "data/01_raw/interactions/.taken.json"
    kill_at(project, "gather_partitions", *RETRAIN)
    assert [path.name for path in (project.folder / "data/02_intermediate/accepted").iterdir()] == ["a.csv.parquet"]
    kill_at(project, "train_backbones", *RETRAIN)
    assert state_of_versions(project) == []
    kill_at(project, "judge_challenger", *RETRAIN)
    assert state_of_versions(project) == [("1", {"challenger"})]
    kill_at(project, "conclude", *RETRAIN)
    assert state_of_versions(project) == [("1", {"challenger", "champion"})]
    assert not taken.exists()
    result = project.run(*RETRAIN)
    assert result.exit_code == 0
    assert (
        "The run that was interrupted had trained on 1 new partition and made version 1 the champion" in result.output
    )
    for part, expected in first[2].items():
        assert state(project)[part] == expected


def state_of_versions(project):
    """Read without MLflow, whose connections a fork would inherit."""
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        versions = database.execute("select version from model_versions").fetchall()
        aliases = database.execute("select alias, version from registered_model_aliases").fetchall()
    return [(str(version), {alias for alias, of in aliases if of == version}) for (version,) in versions]


def test_a_round_whose_server_dies_is_done_again_with_the_next_server(
    first, project, tracking_server, tmp_path, tmp_path_factory
):
    deliver(project, "a.csv", 0.0, 0.6)
    log, server = logging.getLogger("pinet_kedro"), start_tracking_server(tmp_path_factory.mktemp("doomed"))
    killer = AtNode("register_challenger", server.kill)
    log.addHandler(killer)
    try:
        failed = project.run(*RETRAIN, f"--params=tracking.uri={server.uri},tracking.model=nightly")
    finally:
        log.removeHandler(killer)
        server.stop()
    assert failed.exit_code == 1
    assert "No partition of this run counts as taken: the next run starts again." in failed.output
    assert not (project.folder / "data/01_raw/interactions/.taken.json").exists()
    done = project.run(*RETRAIN, f"--params=tracking.uri={tracking_server.uri},tracking.model=nightly")
    assert done.exit_code == 0, done.output
    client = mlflow.MlflowClient(tracking_server.uri)
    version = client.get_model_version_by_alias("nightly", "champion")
    assert version.tags["retraining.key"] == first[2]["versions"][0]["retraining.key"]
    client.download_artifacts(version.run_id, "partitions.json", str(tmp_path))
    assert json.loads((tmp_path / "partitions.json").read_text()) == first[2]["taken"]
