"""Tracking and registration over HTTP, against a real `mlflow server`, one that dies and ones that are sick."""

import logging
import time

import mlflow
import pandas as pd
import pytest

from projects import AtNode
from servers import free_port, sick_server, start_tracking_server

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("own_address")]


@pytest.fixture(scope="module")
def orphaned(new_project, tmp_path_factory):
    """A project whose server was killed when the base began to train, what the run said and what it logged."""
    project = new_project(tmp_path_factory.mktemp("orphaned"))
    server = start_tracking_server(tmp_path_factory.mktemp("doomed_server"))
    log = logging.getLogger("pinet_kedro")
    killer, lines = AtNode("train_backbones", server.kill), []
    listener = logging.Handler()
    listener.emit = lambda record: lines.append(record.getMessage())
    for handler in (killer, listener):
        log.addHandler(handler)
    try:
        result = project.run("--pipeline=full", "--env=test", f"--params=tracking.uri={server.uri}")
    finally:
        for handler in (killer, listener):
            log.removeHandler(handler)
        server.stop()
    return project, result, lines


def test_a_server_that_dies_does_not_stop_the_training(orphaned):
    project, result, lines = orphaned
    assert {"08_reporting/evaluation.json", "08_reporting/report.html"} <= project.files()
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "kedro run --pipeline=registration --env=test" in result.output
    warnings = [line for line in lines if "does not take results" in line]
    assert len(warnings) == 1
    assert "Connection refused" in warnings[0]
    not_recorded = [line for line in lines if line.startswith("Not recorded")]
    assert len(not_recorded) == 1
    for part in ("3 × epoch of base", "evaluation", "report", "end of the run"):
        assert part in not_recorded[0]


def test_what_was_trained_without_a_server_is_registered_later_with_one_command(orphaned, tracking_server):
    project, *_ = orphaned
    result = project.run("--pipeline=registration", "--env=test", f"--params=tracking.uri={tracking_server.uri}")
    assert result.exit_code == 0, result.output
    mlflow.set_tracking_uri(tracking_server.uri)
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("pinet", "challenger")
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert "ndcg_at_10/tail/pin" in run.data.metrics
    assert {artifact.path for artifact in client.list_artifacts(version.run_id)} >= {"evaluation.json", "report.html"}
    model = mlflow.pyfunc.load_model("models:/pinet@challenger")
    items = pd.read_parquet(project.folder / "data/05_model_input/dataset/items.parquet")["item_id"]
    answer = model.predict([{"history": items.iloc[:4].tolist()}], params={"k": 5})
    assert len(answer[0]["items"]) == 5


@pytest.mark.parametrize(("behaviour", "words"), [("500", "too many 500 error responses"), ("hangs", "timed out")])
def test_a_sick_server_is_found_out_before_any_work(project, monkeypatch, behaviour, words):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with sick_server(behaviour) as (uri, requests):
        start = time.monotonic()
        result = project.run("--pipeline=full", "--env=test", f"--params=tracking.uri={uri}")
        assert time.monotonic() - start < 60  # MLflow's own limits: minutes
    assert_nothing_was_run(project, result, uri, words)
    assert len(requests) == 3


def test_a_server_that_is_down_is_found_out_before_any_work(project):
    uri = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    result = project.run("--pipeline=full", "--env=test", f"--params=tracking.uri={uri}")
    assert time.monotonic() - start < 60
    assert_nothing_was_run(project, result, uri, "Connection refused")


def assert_nothing_was_run(project, result, uri, words):
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert uri in result.output
    assert words in result.output
    assert not project.files()


def test_no_password_reaches_the_console(project):
    uri = f"http://team:secret@127.0.0.1:{free_port()}"
    result = project.run("--pipeline=full", "--env=test", f"--params=tracking.uri={uri}")
    assert result.exit_code == 1
    assert "secret" not in result.output


def test_production_without_an_address_says_which_variable_is_missing(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = project.run("--pipeline=full", "--env=prod")
    assert result.exit_code == 1
    assert "MLFLOW_TRACKING_URI" in result.output
    assert "Traceback" not in result.output
    assert not project.files()
