"""The environment `duckdb` stores what the environment `csv` stores, and later stages may use either."""

import sys

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from projects import create_project

STAGES = "--pipelines=data_validation,activeness_stratification"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = create_project(tmp_path_factory.mktemp("project"))
    log = generate_interactions(SyntheticLog(users=150, items=60, seed=1))
    log["timestamp"] //= 10**9
    (project.folder / "events").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(log)), 3)):
        log.iloc[rows].to_csv(project.folder / "events" / f"{number}.csv", index=False)
    return project


def prepared(project, env):
    outcome = project.run(STAGES, f"--env={env}", "--params=filepath=events")
    assert outcome.exit_code == 0, outcome.output
    data = project.folder / "data"
    tables = {name: pd.read_parquet(data / f"{name}.parquet") for name in ("04_feature/users", "04_feature/items")}
    tables["report"] = pd.read_parquet(data / "02_intermediate/cleaning_report.parquet")
    return PreparedDataset(str(data / "05_model_input/dataset")).load().split_sha256, tables


def test_both_environments_store_the_same(project):
    hash_, tables = prepared(project, "csv")
    found, others = prepared(project, "duckdb")
    assert found == hash_
    for name, table in tables.items():
        pd.testing.assert_frame_equal(others[name], table)
    assert not (project.folder / "data/02_intermediate/engine").exists()
    # Another file in the folder is another log; all else is what the environment csv names.
    (project.folder / "events/3.csv").write_text("user_id,item_id,timestamp\nu,i,1600000000\n")
    outcome = project.run("--pipeline=backbone_training", "--env=csv", "--params=filepath=events")
    assert outcome.exit_code == 1
    assert "which is not what this run names, events: its content has changed." in outcome.output


def test_without_the_extra_the_environment_stops_at_once(project, monkeypatch):
    for name in ("ibis", "duckdb"):
        monkeypatch.setitem(sys.modules, name, None)
    outcome = project.run(STAGES, "--env=duckdb", "--params=filepath=events")
    assert outcome.exit_code == 1
    assert "pip install 'pinet-kedro[scale]'" in outcome.output
