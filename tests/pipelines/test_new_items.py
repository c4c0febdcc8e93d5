"""`cleaning.items_without_events` from the metadata to the recommendation, and the same on an engine."""

import json

import pandas as pd
import pytest

from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from projects import create_project

NEW = ["a-new-one", "z-new-one"]
ON = "cleaning.items_without_events=true"
SMALL = (
    "backbone_training.backbone.width=8,backbone_training.schedule.epochs=2,backbone_training.aggregation=null,"
    "registration.refit=all,plugin_training.folds=2,plugin_training.scorers.categories.window=20"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = create_project(tmp_path_factory.mktemp("project"))
    log = generate_interactions(SyntheticLog(users=150, items=60, seed=1))
    log["timestamp"] //= 10**9
    log.to_csv(project.folder / "events.csv", index=False)
    items = [*NEW, *sorted(log["item_id"].unique())]
    table = pd.DataFrame({"item_id": items, "title": "The item", "tags": [f"t{n % 3}" for n in range(len(items))]})
    table.to_csv(project.folder / "items.csv", index=False)
    return project


def run(project, *arguments, env="csv", more=""):
    named = f"filepath=events.csv,metadata=items.csv,metadata_categories=tags{more}"
    return project.run(*arguments, f"--env={env}", f"--params={named}")


def test_an_engine_adds_the_same_items(project):
    stages, found = "--pipelines=data_validation,activeness_stratification", []
    for env in ("csv", "duckdb"):
        result = run(project, stages, env=env, more=f",{ON}")
        assert result.exit_code == 0, result.output
        dataset = PreparedDataset(str(project.folder / "data/05_model_input/dataset")).load()
        assert dataset.item_ids[-2:].tolist() == NEW
        found.append((dataset.split_sha256, pd.read_parquet(project.folder / "data/04_feature/items.parquet")))
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1])


def test_they_are_candidates_from_evaluation_to_request_and_stored_data_say_so(project):
    result = run(project, "--pipeline=full", more=f",{ON},{SMALL}")
    assert result.exit_code == 0, result.output
    data = json.loads((project.folder / "data/08_reporting/evaluation.json").read_text())["data"]
    assert data["items_without_events"] == 2
    ranks = pd.read_parquet(project.folder / "data/07_model_output/ranks.parquet")
    lengths = PreparedDataset(str(project.folder / "data/05_model_input/dataset")).load().sequences.lengths
    first = ranks[ranks["model"] == "pin"].iloc[0]
    assert first["candidates"] > data["items"] - 2 - lengths[first["user"]]
    assert f"{data['items']} items (2 of them without events)" in (
        project.folder / "data/08_reporting/report.html"
    ).read_text(encoding="utf-8")
    asked = project.invoke(
        "recommend", "--history=i00003,i00004", f"--only={','.join(NEW)}", "--version=challenger", "--env=csv"
    )
    assert asked.exit_code == 0, asked.output
    assert all(item in asked.output for item in NEW)
    other = run(project, "--pipeline=evaluation", more=f",{SMALL}")  # without them
    assert other.exit_code == 1
    assert "items_without_events = True (this run: not set)" in other.output


def test_without_a_table_of_items_the_run_stops(project):
    result = project.run("--pipeline=full", "--env=csv", f"--params=filepath=events.csv,{ON}")
    assert result.exit_code == 1
    assert "cleaning.items_without_events = true, but there is no table of items" in result.output
