"""What the tracking hook records is what the catalog marks."""

import os
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from pinet_kedro.datasets.files import JSONDataset, ParquetDataset, TextDataset
from pinet_kedro.tracking.hook import TrackingHook
from pinet_kedro.validation.data_docs import ValidationResultsDataset

EVALUATION = {"models": {"pin": {"tail": {"hr_at_10": 0.5}}}, "comparisons": {}, "data": {"sha256": "abc", "users": 3}}


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return DataCatalog(
        {
            "numbers": JSONDataset(filepath="evaluation.json", metadata={"mlflow": "evaluation"}),
            "result": TextDataset("page_of_results.html", metadata={"mlflow": "page"}),
            "validation_results": ValidationResultsDataset("data_docs"),
            "told_figure": ParquetDataset(filepath="table.parquet", metadata={"kedro-viz": {"layer": "reporting"}}),
            "parameters": MemoryDataset({"seed": 1, "tracking": {"experiment": "marks"}}),
            "run_info": MemoryDataset(copy_mode="assign"),
        }
    )


@pytest.mark.parametrize("error", [None, RuntimeError("why")])
def test_a_dataset_is_recorded_by_its_metadata_whether_it_was_made_or_was_there(catalog, error):
    hook = TrackingHook()
    pipeline = Pipeline([node(lambda numbers: numbers, "numbers", ["result", "told_figure"], name="draw")])
    hook.open({"pipeline_names": ["a", "b"], "namespaces": ["c"], "env": None}, pipeline, catalog)
    Path("data_docs/raw_events").mkdir(parents=True)
    for name in ("index.html", "raw_events/index.html", "raw_events/result.json"):
        Path("data_docs", name).write_text("<body>\n<nav><a href='../index.html'>All pages</a></nav>\ndocs")
    hook.after_node_run(catalog, {"numbers": EVALUATION}, {"result": "<html>", "told_figure": pd.DataFrame()})
    hook.after_node_run(catalog, {"numbers": EVALUATION}, {})
    if error:
        hook.on_pipeline_error(error, catalog)
    else:
        hook.after_pipeline_run(catalog)
    info = catalog.load("run_info")
    client = mlflow.MlflowClient(info.mlflow.uri)
    run = client.get_run(info.mlflow_id)
    assert run.info.run_name == "a+b · c"
    assert run.info.status == ("FAILED" if error else "FINISHED")
    assert run.data.metrics == {"hr_at_10/tail/pin": 0.5}
    inputs = {(each.dataset.name, each.dataset.digest, each.tags[0].value) for each in run.inputs.dataset_inputs}
    assert inputs == {("dataset: training", "abc", "training"), ("dataset: test", "abc", "test")}
    files = {file.path for folder in ("", "data_docs") for file in client.list_artifacts(run.info.run_id, folder)}
    assert files == {
        "evaluation.json", "page_of_results.html", "data_docs", "data_docs/index.html", "data_docs/raw_events",
    }  # fmt: skip
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/data_docs/raw_events/index.html")
    assert text == "<body>\ndocs"  # there is no start page
    assert (info.pipeline, info.environment) == ("a+b", "local")
    assert {"pipeline": "a+b", "environment": "local", "git": info.git}.items() <= run.data.tags.items()


def test_data_docs_of_an_earlier_run_are_not_recorded(catalog):
    Path("data_docs").mkdir()
    Path("data_docs/index.html").write_text("old")
    os.utime("data_docs/index.html", (1_700_000_000, 1_700_000_000))
    hook = TrackingHook()
    hook.open({"pipeline_names": None, "namespaces": [], "env": None}, Pipeline([]), catalog)
    hook.after_pipeline_run(catalog)
    run = catalog.load("run_info").mlflow
    assert mlflow.MlflowClient(run.uri).list_artifacts(run.run_id) == []
