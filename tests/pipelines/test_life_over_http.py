"""A model's life on a real `mlflow server`: registered, promoted, served, rolled back, and the server gone."""

import shutil
import time

import mlflow
import pandas as pd
import pytest
import yaml

from servers import ScoringServer, start_tracking_server


@pytest.fixture
def remote(finished, tmp_path, monkeypatch, own_address):
    """A copy of the finished project whose environment `remote` tracks where MLFLOW_TRACKING_URI says, like `prod`."""
    folder = tmp_path / "project"
    project = finished.copy(folder)
    (folder / "mlflow.db").unlink()
    shutil.copytree(folder / "conf/test", folder / "conf/remote")
    place = folder / "conf/remote/parameters.yml"
    production = (folder / "conf/prod/parameters.yml").read_text()
    settings = yaml.safe_load(place.read_text()) | yaml.safe_load(production)
    settings["serving"]["watch_seconds"] = 2  # a look at the registry over HTTP takes 50 ms of CPU, here and there
    place.write_text(yaml.safe_dump(settings))
    (tmp_path / "server").mkdir()
    server = start_tracking_server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    yield project, server
    server.stop()


def registered(caplog, say):
    caplog.clear()
    with caplog.at_level("INFO", logger="pinet_kedro"):
        say(0, "run", "--pipeline=registration")
    return "\n".join(entry.getMessage() for entry in caplog.records)


def test_the_life_of_a_model_over_http(remote, caplog):
    project, server = remote

    def say(code, *command):
        result = project.invoke(*command, "--env=remote")
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    say(0, "run", "--pipeline=registration")
    assert "Registered before: pinet version 1" in registered(caplog, say)
    # As if other code served it: the same training is another version then.
    mlflow.MlflowClient(server.uri).set_model_version_tag("pinet", "1", "code.serving", "of before")
    assert "Registered: pinet version 2" in registered(caplog, say)
    assert "Promoted: pinet version 1" in say(0, "promote", "1")
    scoring = ScoringServer(project.folder, "remote")
    try:
        assert scoring.version() == "1"
        # The twin gains nothing on its champion: refused, then forced.
        assert "Refused: pinet version 2" in say(3, "run", "--pipeline=promotion")
        assert "Promoted: pinet version 2" in say(0, "promote", "2", "--force", "--reason", "a twin")
        scoring.wait_for("serving version 2 in place of 1")
        say(0, "run", "--pipeline=batch_inference")
        assert set(pd.read_parquet(project.folder / "data/07_model_output/recommendations.parquet").model_version) == {
            "2"
        }
        assert "version 1 is the champion again" in say(0, "rollback", "--reason", "no better")
        scoring.wait_for("serving version 1 in place of 2")
        listed = say(0, "models")
        assert "rolled back" in listed
        assert not (project.folder / "mlflow.db").exists()

        server.kill()
        for command in (["models"], ["rollback"], ["promote"], ["serve"], ["run", "--pipeline=batch_inference"]):
            start = time.monotonic()
            assert f"The tracking server {server.uri} cannot be used" in say(1, *command), command
            assert time.monotonic() - start < 90, command  # MLflow's own limits: minutes
        scoring.wait_for("The registry gives no version")
        assert scoring.version() == "1"
    finally:
        scoring.stop()
