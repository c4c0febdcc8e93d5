"""From the first model to the nightly ones: raw log and partitions are one log. Each run is a real one."""

import json
import re
import shutil

import fsspec
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.registry.loading import load_models
from pinet_kedro.tracking.config import Tracking
from projects import kill_at

pytestmark = pytest.mark.usefixtures("own_address")

YEAR = 364 * 86_400
ON = "--params=retraining.raw_log=true,retraining.newer_targets=10"
OFF = ON.replace("raw_log=true", "raw_log=false")
RETRAIN, REFRESH = (("--pipeline=retraining", "--env=test"), ("--pipeline=refresh", "--env=test"))
KEYS = ["user_id", "item_id", "timestamp"]


def events(since, until):
    """The events of this part of a year in which every user is active all the time; ids are whole numbers."""
    found = generate_interactions(SyntheticLog(users=150, items=60, seed=1))[KEYS]
    users = found.groupby("user_id", sort=False)
    share = (users.cumcount() + 0.5) / users["item_id"].transform("size")
    ids = {name: found[name].str[1:].astype("int64") for name in ("user_id", "item_id")}
    seconds = 1_600_000_000 + (share * YEAR).astype("int64") + np.arange(len(found))
    return found.assign(**ids, timestamp=seconds)[(share >= since) & (share < until)]


def read(project, path):
    return json.loads((project.folder / path).read_text())


def deliver(project, name, since, until):
    """A partition in another format than the raw log: Parquet, ids as integers, times as dates."""
    part = events(since, until)
    folder = project.folder / "data/01_raw/interactions"
    folder.mkdir(parents=True, exist_ok=True)
    part.assign(timestamp=pd.to_datetime(part["timestamp"], unit="s")).to_parquet(folder / name, index=False)


@pytest.fixture(scope="module")
def crowned(new_project, tmp_path_factory):
    """A project whose champion `full` has made from a raw log, a CSV file with ids as text and times in seconds."""
    project = new_project(tmp_path_factory.mktemp("bridge"))
    raw = project.folder / "data/01_raw/log.csv"
    raw.parent.mkdir(parents=True)
    events(0.0, 0.7).astype({"user_id": str}).to_csv(raw, index=False)
    place = project.folder / "conf/test/catalog.yml"
    catalog = yaml.safe_load(place.read_text())
    catalog["raw_interactions"] = {
        "type": "pinet_kedro.datasets.files.InteractionsDataset", "filepath": "data/01_raw/log.csv",
        "timestamp_unit": "s", "validator": catalog["raw_interactions"]["validator"],
    }  # fmt: skip
    place.write_text(yaml.safe_dump(catalog))
    for arguments in (("--pipeline=full",), ("--pipeline=promotion", "--params=promotion.force=the first")):
        result = project.run(*arguments, "--env=test")
        assert result.exit_code == 0, result.output
    return project


@pytest.fixture(scope="module")
def first_night(crowned, tmp_path_factory):
    """A copy after a first night with a partition that repeats the end of the raw log."""
    crowned = crowned.copy(tmp_path_factory.mktemp("first_night") / "project")
    for pipeline in (RETRAIN, REFRESH):
        assert "Nothing new: there is no file in" in crowned.run(*pipeline, ON).output
    deliver(crowned, "a.parquet", 0.65, 0.85)
    result = crowned.run(*RETRAIN, f"{ON},promotion.force=for the second night")
    assert result.exit_code == 0, result.output
    return crowned, read(crowned, "data/08_reporting/retraining.json")


def clean(project):
    return pd.read_parquet(project.folder / "data/retraining/02_intermediate/clean_events.parquet")


def test_the_first_night_trains_on_the_raw_log_and_the_partition_and_counts_what_is_in_both_once(first_night):
    project, done = first_night
    together = events(0.0, 0.85)
    trained = clean(project)
    assert len(trained) == done["events"] == len(together)
    assert set(trained["user_id"]) == set(together["user_id"].astype(str))
    assert trained["timestamp"].max() == together["timestamp"].max() * 10**9


def test_the_first_night_measures_drift_from_the_raw_log(first_night):
    drift = read(first_night[0], "data/08_reporting/drift.json")
    assert drift["reference"]["events"] == len(events(0.0, 0.7))
    assert drift["window"]["events"] == len(events(0.65, 0.85))
    assert drift["unknown_users"] == 0
    assert drift["missing"] == []
    assert set(drift["groups"]) >= {"all", "head", "tail"}


def test_the_first_night_starts_warm_and_holds_out_only_what_the_champion_has_not_learnt(first_night):
    project, done = first_night
    assert done["start"].startswith("warm: from version 1, 1 epoch instead of 3; held out is only what is newer than ")
    tags = mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}").get_model_version("pinet", "1").tags
    folder = project.folder / "data/retraining/05_model_input/dataset"
    arrays = {path.stem: np.load(path) for path in folder.rglob("*.npy")}
    lengths = np.diff(arrays["offsets"])
    position = np.arange(len(arrays["timestamps"])) - np.repeat(arrays["offsets"][:-1], lengths)
    held_out = arrays["timestamps"][position >= np.repeat(arrays["train_end"], lengths)]
    assert held_out.min() > int(tags["judged.until"])
    assert all("flatters" not in note for note in done["promotion"]["notes"])


def test_the_first_night_is_judged_on_data_of_comparable_size(first_night):
    _, done = first_night
    gates = {gate["name"]: gate for gate in done["promotion"]["gates"]}
    assert gates["data"]["passed"]
    assert gates["data"]["value"] >= 1
    assert gates["targets"]["passed"]
    assert gates["users"]["measured"] == "knows 100.0 % of the champion's users"
    assert done["promotion"]["against"] == "version 1"


def test_the_version_and_the_data_name_the_raw_log_that_they_come_from(first_night, tmp_path):
    project, _ = first_night
    client = mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    version = client.get_model_version("pinet", "2")
    first = client.get_model_version("pinet", "1")
    taken = read(project, "data/01_raw/interactions/.taken.json")
    assert version.tags["retraining.partitions"] == "raw log, 1: a.parquet … a.parquet"
    for run, of in ((first.run_id, "1"), (version.run_id, "2")):
        client.download_artifacts(run, "manifest.json", str((tmp_path / of).mkdir() or tmp_path / of))
        manifest = json.loads((tmp_path / of / "manifest.json").read_text())
        assert manifest["lineage"]["raw_interactions"]["content"] == taken["_raw_log"]["sha256"]


def test_the_second_night_measures_drift_from_all_that_the_champion_was_trained_on(first_night, tmp_path):
    """Also where the raw log has moved behind an address, at which it is watched."""
    project = first_night[0].copy(tmp_path / "project")
    assert "Nothing new: the only partition has been taken before." in project.run(*RETRAIN, ON).output
    raw, place = project.folder / "data/01_raw/log.csv", project.folder / "conf/test/catalog.yml"
    store = fsspec.filesystem("memory")
    store.pipe_file("/nightly/log.csv", raw.read_bytes())
    raw.unlink()
    place.write_text(place.read_text().replace("data/01_raw/log.csv", "memory://nightly/log.csv"))
    assert "Nothing new:" in project.run(*RETRAIN, ON).output
    deliver(project, "b.parquet", 0.85, 1.0)
    result = project.run(*RETRAIN, ON)
    assert result.exit_code in (0, 3), result.output
    drift, done = (read(project, f"data/08_reporting/{name}.json") for name in ("drift", "retraining"))
    assert drift["model"] == "2"
    assert drift["reference"]["events"] == len(events(0.0, 0.7)) + len(events(0.65, 0.85))
    assert done["start"].startswith("warm: from version 2")
    assert len(clean(project)) == len(events(0.0, 1.0))
    manifest = read(project, "data/retraining/02_intermediate/clean_events.parquet.manifest.json")
    assert manifest["lineage"]["raw_interactions"]["place"] == "memory://nightly/log.csv"
    copies = project.folder / "data/01_raw/fetched"
    shutil.rmtree(copies)
    assert "Nothing new:" in project.run(*RETRAIN, ON).output
    assert not copies.exists()  # what the store says is enough
    store.pipe_file("/nightly/log.csv", store.cat_file("/nightly/log.csv") + b"1,1,1600000000\n")
    refused(project, "the raw log of the environment", "has changed since", "retraining.changed_partition=replace")


def test_recommendations_are_for_the_users_of_the_champion(first_night):
    project, _ = first_night
    done = project.run("--pipeline=retraining_batch_inference", "--env=test")
    assert done.exit_code == 0, done.output
    answered = pd.read_parquet(project.folder / "data/07_model_output/recommendations.parquet")
    assert set(answered["user_id"]) == set(events(0.0, 0.85)["user_id"].astype(str))
    assert set(answered["model_version"]) == {"2"}


@pytest.fixture(scope="module")
def on_duckdb(crowned, tmp_path_factory):
    """As `first_night`, in a copy whose environment prepares logs in DuckDB."""
    project = crowned.copy(tmp_path_factory.mktemp("on_duckdb") / "project")
    place = project.folder / "conf/test/catalog.yml"
    catalog, ours = (yaml.safe_load(path.read_text()) for path in (place, project.folder / "conf/duckdb/catalog.yml"))
    catalog["raw_interactions"] |= {
        "type": ours["raw_interactions"]["type"], "folder": ours["raw_interactions"]["folder"],
        "engine": {"name": "duckdb", "memory": "500MB", "threads": 1, "block_events": 500},
    }  # fmt: skip
    place.write_text(yaml.safe_dump(catalog | {"retraining.clean_events": ours["retraining.clean_events"]}))
    deliver(project, "a.parquet", 0.65, 0.85)
    result = project.run(*RETRAIN, f"{ON},promotion.force=for the second night")
    assert result.exit_code == 0, result.output
    return project


def outcomes(folder):
    """What the gates have stored: success, statistics, and the rules that are broken, by suite."""
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("result.json")}
    return {
        name: (found["success"], [table["statistics"] for table in found["tables"]]) for name, found in results.items()
    }


def test_retraining_on_an_engine_stores_and_decides_the_same(first_night, on_duckdb):
    in_memory = first_night[0]
    stored = [project.folder / "data/retraining" for project in (in_memory, on_duckdb)]
    arrays = [
        {path.name: np.load(path) for path in (folder / "05_model_input/dataset").rglob("*.npy")} for folder in stored
    ]
    assert arrays[0].keys() == arrays[1].keys()
    assert len(arrays[0]) > 6
    for name, array in arrays[0].items():
        np.testing.assert_array_equal(arrays[1][name], array)
    for table in ("02_intermediate/cleaning_report", "04_feature/users", "04_feature/items", "07_model_output/ranks"):
        one, other = (pd.read_parquet(folder / f"{table}.parquet") for folder in stored)
        pd.testing.assert_frame_equal(other, one)
    assert outcomes(stored[0] / "08_reporting") == outcomes(stored[1] / "08_reporting")
    assert not (stored[1] / "02_intermediate/clean_events.parquet").exists()
    one, other = (read(project, "data/08_reporting/drift.json") for project in (in_memory, on_duckdb))
    assert one == other
    one, other = (read(project, "data/08_reporting/retraining.json") for project in (in_memory, on_duckdb))
    assert {name: one[name] for name in ("intake", "start", "events", "epochs")} == {
        name: other[name] for name in ("intake", "start", "events", "epochs")
    }
    apart = ("validation", "fresh process", "latency")  # they tell times
    one, other = ([gate for gate in of["promotion"]["gates"] if gate["name"] not in apart] for of in (one, other))
    assert one == other


def test_no_engine_is_left_behind(on_duckdb):
    assert not list((on_duckdb.folder / "data/02_intermediate").glob("engine*"))


def test_a_partition_with_ids_of_another_kind_gets_the_same_refusal_on_an_engine(first_night, on_duckdb, tmp_path):
    told = []
    for number, project in enumerate((first_night[0], on_duckdb)):
        project = project.copy(tmp_path / str(number))
        part = events(0.9, 1.0)
        part.assign(user_id="u" + part["user_id"].astype(str)).to_csv(
            project.folder / "data/01_raw/interactions/c.csv", index=False
        )
        words = refused(project, "partition c.csv and the raw log", "no user in common", "'u", "raw_log: false")
        assert "c.csv" not in read(project, "data/01_raw/interactions/.taken.json")
        found = words[words.index("partition c.csv and the raw log") :].split(" retraining.raw_log: false")[0]
        told.append(found.replace(str(project.folder), ""))
        assert not list((project.folder / "data/02_intermediate").glob("engine*"))
    assert told[0] == told[1]


def test_on_an_engine_the_partitions_alone_are_trained_on_from_memory(on_duckdb, tmp_path):
    project = on_duckdb.copy(tmp_path / "project")
    deliver(project, "b.parquet", 0.85, 1.0)
    settings = f"{OFF},retraining.changed_partition=replace"
    result = project.run(*RETRAIN, settings, "--to-outputs=retraining.dataset")  # made from it, as on any other log
    assert result.exit_code == 0, result.output
    found = np.load(project.folder / "data/retraining/02_intermediate/clean_log/timestamps.npy")
    assert found.min() >= events(0.65, 1.0)["timestamp"].min() * 10**9


def test_on_an_engine_a_refresh_reads_the_log_into_memory(on_duckdb, tmp_path):
    project = on_duckdb.copy(tmp_path / "project")
    deliver(project, "b.parquet", 0.85, 1.0)
    result = project.run(*REFRESH, ON)
    assert result.exit_code in (0, 3), result.output
    assert not list((project.folder / "data/02_intermediate").glob("engine*"))


def refused(project, *words):
    result = project.run(*RETRAIN, ON)
    assert result.exit_code == 1, result.output
    told = " ".join(result.output.split())
    assert "Traceback" not in told
    for word in words:
        assert word in told
    return told


def test_another_raw_log_is_noticed_even_where_no_partition_is_new(first_night, tmp_path):
    project = first_night[0].copy(tmp_path / "project")
    with (project.folder / "data/01_raw/log.csv").open("a") as file:
        file.write("1,1,1600000000\n")
    refused(project, "the raw log of the environment", "has changed since", "retraining.changed_partition=replace")


def test_a_raw_log_that_is_gone_is_named_with_the_way_out(crowned, tmp_path):
    project = crowned.copy(tmp_path / "project")
    (project.folder / "data/01_raw/log.csv").unlink()
    deliver(project, "d.parquet", 0.9, 1.0)
    refused(project, "the raw log cannot be read", "data/01_raw/log.csv", "set retraining.raw_log: false")


@pytest.fixture(scope="module")
def refreshed(crowned, tmp_path_factory):
    """A copy after a refresh with a partition that repeats the end of the raw log."""
    project = crowned.copy(tmp_path_factory.mktemp("refreshed") / "project")
    deliver(project, "a.parquet", 0.65, 0.85)
    result = project.run(*REFRESH, f"{ON},promotion.force=to serve it")
    assert result.exit_code == 0, result.output
    return project, read(project, "data/08_reporting/refresh.json"), result.output


def registry(project):
    return mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")


def test_a_refresh_serves_the_backbone_of_the_champion_with_counts_of_all_events(refreshed):
    project, decision, output = refreshed
    assert "Promoted: pinet version 2 is the champion" in output
    config = Tracking(uri=f"sqlite:///{project.folder / 'mlflow.db'}")
    before, now = (load_models(version, config) for version in ("1", "2"))
    assert now.served.popularity.counts.sum() == len(events(0.0, 0.85)) - decision_unknown(decision)
    assert before.served.popularity.counts.sum() == len(events(0.0, 0.7))
    state = before.served.backbone.state_dict()
    assert all(state[name].equal(value) for name, value in now.served.backbone.state_dict().items())
    assert before.judged_until < before.served_until < now.judged_until < now.served_until
    assert now.served_until == events(0.0, 0.85)["timestamp"].max() * 10**9
    assert len(now.users) >= len(before.users)


def decision_unknown(decision):
    """Number of events with items that the champion does not know, as the note says."""
    found = re.search(r"; ([\d,]+) more, with", " ".join(decision["notes"]))
    return int(found[1].replace(",", "")) if found else 0


def test_a_refresh_is_judged_on_events_that_neither_version_has_learnt(refreshed):
    _, decision, _ = refreshed
    gates = {gate["name"]: gate for gate in decision["gates"]}
    assert decision["against"] == "version 1"
    assert gates["targets"]["passed"]
    assert gates["validation"]["passed"]
    assert gates["data"]["value"] >= 1
    assert decision["data"]["test_targets"] > 20
    assert any("new events of" in note and "are counted" in note for note in decision["notes"])
    assert not any("compared as it was before its refit" in note for note in decision["notes"])


def test_a_refresh_takes_no_partition_and_is_not_done_twice(refreshed):
    project, _, _ = refreshed
    assert not (project.folder / "data/01_raw/interactions/.taken.json").exists()
    result = project.run(*REFRESH, ON)
    assert (result.exit_code, len(registry(project).search_model_versions("name = 'pinet'"))) == (0, 2)
    assert "Nothing new: version 2, the champion, has counted everything that came in." in result.output


def test_lists_from_histories_that_lack_what_a_refresh_has_counted_are_a_warning(refreshed, tmp_path, caplog):
    project = refreshed[0].copy(tmp_path / "project")
    with caplog.at_level("WARNING", logger="pinet_kedro"):
        result = project.run("--pipeline=batch_inference", "--env=test")
    assert result.exit_code == 0, result.output
    assert "Version 2 has learnt events until 2021" in caplog.text


def test_a_refresh_of_a_refresh_starts_from_the_trained_version_and_all_files_since(refreshed, tmp_path):
    project = refreshed[0].copy(tmp_path / "project")
    deliver(project, "b.parquet", 0.85, 1.0)
    result = project.run(*REFRESH, ON)
    assert result.exit_code in (0, 3), result.output
    version = registry(project).get_model_version("pinet", "3")
    assert version.tags["refresh.of"] == "1"
    assert read(project, "data/08_reporting/refresh.json")["against"] == "version 2"
    judged_from = int(version.tags["judged.until"])
    assert judged_from > events(0.0, 0.85)["timestamp"].max() * 10**9  # version 2 has counted all before


def test_retraining_goes_on_from_the_trained_version_behind_a_refresh(refreshed, tmp_path, caplog):
    project = refreshed[0].copy(tmp_path / "project")
    with caplog.at_level("INFO", logger="pinet_kedro"):
        result = project.run(*RETRAIN, ON, "--to-nodes=retraining.warm_start.choose_start")
    assert result.exit_code == 0, result.output
    assert "Training starts warm: from version 1, " in caplog.text
    assert read(project, "data/08_reporting/drift.json")["model"] == "1"


def test_a_refresh_that_is_killed_is_finished_by_the_next_one(crowned, tmp_path):
    project = crowned.copy(tmp_path / "project")
    deliver(project, "a.parquet", 0.65, 0.85)
    kill_at(project, "judge_refresh", *REFRESH, ON)
    assert str(registry(project).get_registered_model("pinet").aliases["champion"]) == "1"
    other = project.copy(tmp_path / "other")
    result = project.run(*REFRESH, ON)
    assert result.exit_code in (0, 3), result.output
    assert len(registry(project).search_model_versions("name = 'pinet'")) == 2

    # With other settings it is another refresh: the version that is there was judged after another cut.
    result = other.run(*REFRESH, f"{ON},refresh.held_out=0.8")
    assert result.exit_code in (0, 3), result.output
    versions = [registry(other).get_model_version("pinet", number).tags for number in ("2", "3")]
    assert versions[1]["judged.until"] < versions[0]["judged.until"]
    [targets] = [gate for gate in read(other, "data/08_reporting/refresh.json")["gates"] if gate["name"] == "targets"]
    assert targets["passed"]


@pytest.mark.parametrize(
    "change", [lambda log: log.iloc[:-200], lambda log: log.assign(timestamp=log["timestamp"].to_numpy()[::-1])],
    ids=["shorter", "other histories with the same counts"],
)  # fmt: skip
def test_a_refresh_on_another_log_than_the_champion_s_is_refused(crowned, tmp_path, change):
    project = crowned.copy(tmp_path / "project")
    deliver(project, "a.parquet", 0.65, 0.85)
    log = project.folder / "data/01_raw/log.csv"
    change(pd.read_csv(log, dtype=str)).to_csv(log, index=False)
    result = project.run(*REFRESH, ON)
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert "not the one that the champion has learnt: version 1 was trained on another content of the raw log" in told


def test_a_refresh_that_reads_the_log_otherwise_than_the_champion_s_training_is_refused(crowned, tmp_path):
    project = crowned.copy(tmp_path / "project")
    deliver(project, "a.parquet", 0.65, 0.85)
    place = project.folder / "conf/test/catalog.yml"
    place.write_text(place.read_text().replace("timestamp_unit: s", "timestamp_unit: auto"))
    result = project.run(*REFRESH, ON)
    assert result.exit_code == 1
    assert "was trained on the raw log with other columns or times" in " ".join(result.output.split())


def test_without_a_champion_the_way_out_is_said(project):
    deliver(project, "a.parquet", 0.65, 0.85)
    result = project.run(*REFRESH)
    assert result.exit_code == 1
    assert "there is no champion to refresh" in result.output
