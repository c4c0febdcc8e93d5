"""Spark recommends to every user what the local batch inference does. `make test-spark` runs these tests."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.engines.recommendations import SparkRecommendationsDataset
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.registry import registration
from pinet_kedro.registry.loading import load_models
from pinet_kedro.serving.batch_inference import prepare_recommendations
from pinet_kedro.serving.config import BatchInference
from pinet_kedro.tracking.config import Tracking
from prepared import as_dataset
from projects import create_project

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.usefixtures("spark")]
COLUMNS = ["user_id", "items", "scores", "stratum", "model_version"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a version for 500 users."""
    project = create_project(tmp_path_factory.mktemp("project"))
    catalog = project.folder / "conf/test/catalog.yml"
    catalog.write_text(catalog.read_text().replace("users: 150", "users: 500"))
    outcome = project.run("--pipeline=full", "--env=test")
    assert outcome.exit_code == 0, outcome.output
    return project


def recommend(project, env, *settings):
    given = ",".join(["batch_inference.version=challenger", *settings])
    return project.run("--pipeline=batch_inference", f"--env={env}", f"--params={given}")


def assert_same(found, expected):
    """Equal tables but for the order of users and rounding, which depends on who is scored together."""
    assert list(found) == list(expected) == COLUMNS
    found = found.set_index("user_id").loc[expected["user_id"]]
    assert len(found) == len(expected)
    for name in ("items", "stratum", "model_version"):
        assert found[name].map(str).tolist() == expected[name].map(str).tolist(), name
    scores, as_expected = (np.concatenate(table["scores"].tolist()) for table in (found, expected))
    assert scores.dtype == as_expected.dtype
    np.testing.assert_allclose(scores, as_expected, atol=1e-4)


def test_all_lists_are_those_of_the_local_pipeline(project, caplog):
    output = project.folder / "data/07_model_output"
    assert recommend(project, "test").exit_code == 0
    expected = pd.read_parquet(output / "recommendations.parquet")
    assert len(expected) == 500
    with caplog.at_level("INFO", logger="pinet_kedro"):
        outcome = recommend(project, "spark")
    assert outcome.exit_code == 0, outcome.output
    assert_same(pd.read_parquet(output / "recommendations/rows"), expected)
    assert "for 500 users (0 new; 0 of the version's users are missing)" in caplog.records[-1].getMessage()
    assert not (project.folder / "data/02_intermediate/engine").exists()
    before = sorted((output / "recommendations").rglob("*"))
    outcome = recommend(project, "spark", "batch_inference.explain=true")
    assert outcome.exit_code == 1
    assert "Spark writes lists without explanations. Set it to false" in " ".join(outcome.output.split())
    assert sorted((output / "recommendations").rglob("*")) == before


def test_executors_run_the_code_of_the_version_on_users_and_items_that_it_does_not_know(
    project, spark, tmp_path, monkeypatch
):
    monkeypatch.chdir(project.folder)
    registry = Tracking()
    models, copy_code = load_models("1", registry), registration._copy_serving_code

    def changed(target):
        folder = copy_code(target)
        code = (folder / "recommender.py").read_text()
        assert '"head" if head' in code
        (folder / "recommender.py").write_text(code.replace('"head" if head', '"of this version" if head'))
        return folder

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_copy_serving_code", changed)
        evaluation = json.loads((project.folder / "data/08_reporting/evaluation.json").read_text())
        version = registration.register_model(models, evaluation, registry)["version"]
    dataset = PreparedDataset("data/05_model_input/dataset").load()
    ids = dataset.items["item_id"].astype(str).replace({dataset.items["item_id"][0]: "new"})
    strangers = np.ones(3, np.int32)  # two users who know nothing else
    items = np.concatenate([dataset.sequences.items, strangers])
    offsets = np.concatenate([dataset.sequences.offsets, [len(items) - 2, len(items)]])
    nobody = np.zeros(502, np.int64)
    newer = as_dataset(Sequences(items, np.zeros(len(items), np.int64), offsets), Split(*[nobody] * 4), ids)
    users = pd.concat([pd.read_parquet("data/04_feature/users.parquet")["user_id"], pd.Series(["s 1", "s 2"])])

    local = prepare_recommendations(newer, users, BatchInference(version=version, k=4), registry)
    expected = pa.Table.from_batches(local, local.schema).to_pandas()
    data = prepare_recommendations(newer, users, BatchInference(version=version, k=4), registry)
    stored = SparkRecommendationsDataset(str(tmp_path / "out"), spark.model_dump(), str(tmp_path))
    stored.save(data)
    expected["stratum"] = expected["stratum"].replace({"head": "of this version"})
    assert set(expected["stratum"]) == {"tail", "of this version"}
    assert_same(stored.load(), expected)
    assert stored.summary() == local.summary
    assert local.summary["users_without_history"] == 2
    assert local.summary["skipped_events"] > 3


def test_only_spark_computes_recommendations(tmp_path):
    with pytest.raises(InputError, match="computed by spark, or locally"):
        SparkRecommendationsDataset(str(tmp_path / "out"), {"name": "duckdb"}, str(tmp_path))
