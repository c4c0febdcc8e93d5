"""What a run records, on a database in the current folder."""

import pickle
import sys

import mlflow
import pytest
from plotly.graph_objects import Figure

from pinet_kedro.tracking import runs
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.nested import NestedRun, close_nested
from pinet_kedro.tracking.recording import end_run, log_epoch, log_figure, log_page
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.tracking.runs import name_of, start_run
from pinet_kedro.training.backbone import EpochReport


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return start_run(RunInfo("full", "test", "abc", Tracking()), {"seed": 1})


def recorded(run):
    return mlflow.MlflowClient(run.mlflow.uri).get_run(run.mlflow_id)


def test_a_run_records_its_facts_and_ends_once(run):
    log_page(run.mlflow, "report", "<html></html>")
    end_run(run, "FAILED", "why")
    end_run(run, "KILLED")  # as at the end of the process
    found = recorded(run)
    assert found.info.status == "FAILED"
    assert found.data.params == {"seed": "1"}
    assert {
        "pipeline": "full",
        "environment": "test",
        "git": "abc",
        "failure": "why",
    }.items() <= found.data.tags.items()
    client = mlflow.MlflowClient(run.mlflow.uri)
    assert [file.path for file in client.list_artifacts(run.mlflow_id)] == ["report.html"]


@pytest.mark.parametrize("page", [True, False])
def test_figures_have_a_page_where_no_other_page_shows_them(run, page):
    log_figure(run.mlflow, "gains", Figure().add_scatter(x=[1], y=[2]))
    if page:
        log_page(run.mlflow, "report", "<html></html>")
    end_run(run, "FINISHED")
    files = [file.path for file in mlflow.MlflowClient(run.mlflow.uri).list_artifacts(run.mlflow_id)]
    assert files == (["report.html"] if page else ["figures"])


def test_another_process_records_in_the_run_that_it_is_given(run):
    given = pickle.loads(pickle.dumps(run))
    log_epoch(given.mlflow, "base", EpochReport(1, 3, 0.5, 1.0, None, {"all": 0.25}, (0.5, 0.5)))
    inside = NestedRun(given.mlflow, "trial 0")
    inside.start({}, {"a": 1})
    inside.end("FINISHED", {})
    close_nested()
    assert recorded(run).data.metrics == {"training/base/loss": 0.5, "training/base/validation_ndcg_at_10_all": 0.25}
    [child] = mlflow.MlflowClient(run.mlflow.uri).search_runs(
        [run.mlflow.experiment_id], f"tags.`mlflow.parentRunId` = '{run.mlflow_id}'"
    )
    assert child.data.params == {"a": "1"}


@pytest.mark.parametrize(
    ("pipeline", "trains", "name"), [("full", True, "full · gru4rec · seed 7"), ("promotion", False, "promotion")]
)
def test_a_run_is_named_after_what_it_trains(pipeline, trains, name):
    parameters = {"backbone_training": {"backbone": {"name": "gru4rec"}, "seed": 7}}
    assert name_of(pipeline, parameters, trains) == name


def test_the_experiment_is_described_once_and_a_users_words_stay(run):
    client = mlflow.MlflowClient(run.mlflow.uri)
    assert "`report.html`" in client.get_experiment(run.mlflow.experiment_id).tags["mlflow.note.content"]
    client.set_experiment_tag(run.mlflow.experiment_id, "mlflow.note.content", "ours")
    end_run(start_run(RunInfo("full", "test", "abc", Tracking()), {}), "FINISHED")
    assert client.get_experiment(run.mlflow.experiment_id).tags["mlflow.note.content"] == "ours"


def test_parameters_of_other_pipelines_are_left_out(run):
    other = start_run(
        RunInfo("tuning", "test", "abc", Tracking()), {"tuning": {"trials": 4}, "benchmark": {"seeds": 5}}
    )
    assert recorded(other).data.params == {"tuning.trials": "4"}
    end_run(other, "FINISHED")


def test_without_a_run_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_epoch(None, "base", EpochReport(1, 3, 0.5, 1.0, None))
    end_run(RunInfo("full", "test", "abc", Tracking()), "FINISHED")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_killed_before_its_parameters_is_closed_by_the_next_one(run, monkeypatch):
    """It has the tags of its process from its first moment."""
    end_run(run, "FINISHED")
    with monkeypatch.context() as killed:
        killed.setattr(mlflow.MlflowClient, "log_batch", lambda *given, **named: sys.exit("as if killed"))
        with pytest.raises(SystemExit):
            start_run(RunInfo("full", "test", "abc", Tracking()), {"seed": 1})
    monkeypatch.setattr(runs, "is_gone", lambda process: True)  # this process is still there
    end_run(start_run(RunInfo("full", "test", "abc", Tracking()), {"seed": 1}), "FINISHED")
    found = mlflow.MlflowClient(run.mlflow.uri).search_runs([run.mlflow.experiment_id])
    assert [each.info.status for each in found] == ["FINISHED", "FAILED", "FINISHED"]
    assert found[1].data.tags["failure"] == "the process ended without closing the run"
