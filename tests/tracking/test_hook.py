"""What the tracking hook records is what the catalog marks."""

import mlflow
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from pinet_kedro.datasets.files import JSONDataset, ParquetDataset, TextDataset
from pinet_kedro.tracking.hook import TrackingHook

EVALUATION = {"models": {"pin": {"tail": {"hr_at_10": 0.5}}}, "comparisons": {}, "data": {"sha256": "abc", "users": 3}}


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return DataCatalog(
        {
            "numbers": JSONDataset(filepath="evaluation.json", metadata={"mlflow": "evaluation"}),
            "result": TextDataset("page_of_results.html", metadata={"mlflow": "page"}),
            "told_figure": ParquetDataset(filepath="table.parquet", metadata={"kedro-viz": {"layer": "reporting"}}),
            "parameters": MemoryDataset({"seed": 1, "tracking": {"experiment": "marks"}}),
            "run_info": MemoryDataset(copy_mode="assign"),
        }
    )


@pytest.mark.parametrize("error", [None, RuntimeError("why")])
def test_a_dataset_is_recorded_by_its_metadata_whether_it_was_made_or_was_there(catalog, error):
    hook = TrackingHook()
    pipeline = Pipeline([node(lambda numbers: numbers, "numbers", ["result", "told_figure"], name="draw")])
    hook.open({"pipeline_names": ["a", "b"], "env": None}, pipeline, catalog)
    hook.after_node_run(catalog, {"numbers": EVALUATION}, {"result": "<html>", "told_figure": pd.DataFrame()})
    hook.after_node_run(catalog, {"numbers": EVALUATION}, {})
    if error:
        hook.on_pipeline_error(error)
    else:
        hook.after_pipeline_run()
    info = catalog.load("run_info")
    client = mlflow.MlflowClient(info.mlflow.uri)
    run = client.get_run(info.mlflow_id)
    assert run.info.status == ("FAILED" if error else "FINISHED")
    assert run.data.metrics == {"hr_at_10/tail/pin": 0.5}
    inputs = {(each.dataset.name, each.dataset.digest, each.tags[0].value) for each in run.inputs.dataset_inputs}
    assert inputs == {("dataset: training", "abc", "training"), ("dataset: test", "abc", "test")}
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"evaluation.json", "page_of_results.html"}
    assert (info.pipeline, info.environment) == ("a+b", "local")
    assert {"pipeline": "a+b", "environment": "local", "git": info.git}.items() <= run.data.tags.items()
