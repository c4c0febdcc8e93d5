"""A run on stored data that do not fit it ends in a sentence, before any work; one on those that do is let through."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.pipeline_registry import STAGES

TEST = "--env=test"


@pytest.fixture
def stored(finished, tmp_path):
    """A copy of what a full run has left."""
    return finished.copy(tmp_path / "project")


def data(project, name):
    return project.folder / "data" / name


def times(project):
    """Of everything stored."""
    return {path: data(project, path).stat().st_mtime_ns for path in project.files()}


def refused(project, *arguments, words):
    before = times(project)
    result = project.run(*arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    told = " ".join(result.output.split())
    assert "Traceback" not in told
    for word in words:
        assert word in told
    assert times(project) == before


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_on_nothing_names_the_first_one_that_it_needs(project, stage):
    refused(
        project, f"--pipeline={stage}", TEST, words=["not there", "kedro run --pipeline=data_validation --env=test"]
    )


@pytest.mark.parametrize(
    ("gone", "pipeline", "words"),
    [
        ("05_model_input/dataset", "evaluation", ["05_model_input/dataset", "--pipeline=activeness_stratification"]),
        ("06_models/shipped", "registration", ["data/06_models/shipped", "--pipeline=refit"]),
        ("08_reporting/report.html", "registration", ["report.html", "--pipeline=evaluation"]),
        ("04_feature/users.parquet", "batch_inference", ["users.parquet", "--pipeline=activeness_stratification"]),
    ],
)
def test_a_missing_input_is_named_with_the_command_that_makes_it(stored, gone, pipeline, words):
    path = data(stored, gone)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(stored, f"--pipeline={pipeline}", TEST, words=["is not there", *words])


def test_what_is_only_kept_in_memory_is_named_with_its_node(stored):
    arguments = ("--pipeline=plugin_training", "--from-nodes=plugin_training.fit_plugins", TEST)
    refused(stored, *arguments, words=["'scorers' is not kept", "--from-nodes=plugin_training.build_scorers"])


# ---------------------------------------------------------------- what is stale or foreign

FOUR = ("folds", "seed", "hard_candidates", "random_candidates")
STALE = {
    "a longer training": (
        ["--pipeline=evaluation", TEST, "--params=backbone_training.schedule.epochs=60"],
        ["data/06_models/", "backbone_training.schedule.epochs = 3 (this run: 60)", "--pipeline=backbone_training"],
    ),
    "another loss": (
        ["--pipeline=registration", TEST, "--params=backbone_training.loss.focal=2.0"],
        ["backbone_training.loss.focal = 0.0 (this run: 2.0)"],
    ),
    "another split of the data that models are judged on": (
        ["--pipeline=promotion", TEST, "--params=splitting.rule=global_time"],
        ["splitting.rule = leave_one_out (this run: global_time)", "--pipeline=activeness_stratification"],
    ),
    "other cleaning": (
        ["--pipeline=backbone_training", TEST, "--params=cleaning.min_user_events=9"],
        ["cleaning.min_user_events = 5 (this run: 9)", "--pipeline=data_validation"],
    ),
    "several parameters": (
        ["--pipeline=evaluation", TEST, "--params=" + ",".join(f"plugin_training.{name}=7" for name in FOUR)],
        ["plugin_training.folds = 2 (this run: 7)", "and 1 more"],
    ),
    "what is there although another value is asked for": (
        ["--pipeline=full", TEST, "--only-missing-outputs", "--params=backbone_training.seed=2"],
        ["backbone_training.seed = 1 (this run: 2)"],
    ),
    "the environment of another source": (
        ["--pipeline=plugin_training"],
        ["SyntheticInteractionsDataset", "data/01_raw/ml-100k.inter", "--pipeline=data_validation"],
    ),
    "another seed of the source": (
        ["--pipeline=batch_inference", "--env=synthetic"],
        ["seed"],
    ),
}  # fmt: skip
STALE["another seed of the source"] = (
    ["--pipeline=batch_inference", "--env=synthetic"],
    ["users = 150 (this run: 600)"],
)


@pytest.mark.parametrize("case", STALE)
def test_inputs_that_were_made_otherwise_are_refused_with_both_values_and_the_way_out(stored, case):
    arguments, words = STALE[case]
    refused(stored, *arguments, words=["Make it again with kedro run", *words])


def test_parameters_that_change_nothing_stored_stop_nothing(stored):
    own = "batch_inference.version=challenger,batch_inference.k=20,backbone_training.threads=2,tuning.trials=9"
    others = "promotion.gates.coverage=0.2,tracking.experiment=other,retraining.start=cold"
    result = stored.run("--pipeline=batch_inference", TEST, f"--params={own},{others}")
    assert result.exit_code == 0, result.output
    assert len(pd.read_parquet(data(stored, "07_model_output/recommendations.parquet"))) > 0


def test_nothing_is_asked_of_the_environment_where_a_stored_model_is_used_without_one(stored):
    result = stored.run("--pipeline=promotion", "--params=promotion.version=99")
    assert "there is no version 99" in result.output


# ---------------------------------------------------------------- what does not belong together, or is damaged


def test_a_model_of_an_earlier_split_is_refused(stored):
    again = stored.run("--pipeline=activeness_stratification", TEST, "--params=splitting.rule=global_time")
    assert again.exit_code == 0, again.output
    arguments = ("--pipeline=evaluation", TEST, "--params=splitting.rule=global_time")
    refused(
        stored,
        *arguments,
        words=["than the one that is there now", "do not belong together", "Make it again with kedro run"],
    )


def test_data_stages_that_give_the_same_data_again_leave_the_models_valid(stored):
    assert stored.run("--pipeline=activeness_stratification", TEST).exit_code == 0
    again = stored.run("--pipeline=evaluation", TEST)
    assert again.exit_code == 0, again.output


def corrupt_folder(file):
    def change(path):
        content = (path / file).read_bytes()
        (path / file).write_bytes(content[: len(content) // 2])

    return change


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def edit(file):
    def change(path):
        (path / file).write_text((path / file).read_text().replace("1", "2", 1))

    return change


def forget(path):
    (path / "manifest.json" if path.is_dir() else path.with_name(f"{path.name}.manifest.json")).unlink()


def swap(path):
    """A folder of another dataset, its manifest included."""
    shutil.rmtree(path)
    shutil.copytree(path.with_name("base"), path)


def unknown_format(path):
    place = path / "manifest.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "format": 99}))


DATASET = "05_model_input/dataset"
DAMAGE = {
    "half an array": (DATASET, corrupt_folder("split/test_at.npy"), "is not what its manifest describes"),
    "half of the weights": ("06_models/base", corrupt_folder("weights.safetensors"), "is not what its manifest"),
    "half a table": (DATASET, corrupt_folder("items.parquet"), "is not what its manifest describes"),
    "an edited value": (DATASET, edit("strata.json"), "is not what its manifest describes"),
    "another model in its place": ("06_models/pin", swap, "is not what its manifest describes"),
    "no manifest": (DATASET, forget, "an earlier version of this project"),
    "no manifest of a file": ("08_reporting/long_tail.json", forget, "an earlier version of this project"),
    "half a manifest": ("06_models/pin", corrupt_folder("manifest.json"), "cannot be read"),
    "a manifest to come": ("06_models/deconfounded", unknown_format, "has format 99"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_not_as_it_was_made_is_refused(stored, case):
    name, damage, words = DAMAGE[case]
    damage(data(stored, name))
    refused(stored, "--pipeline=evaluation", TEST, words=[f"data/{name}", words, "Make it again with kedro run"])


def test_data_of_an_earlier_version_name_the_full_run(stored):
    for path in [*stored.folder.glob("data/*/*.manifest.json"), *stored.folder.glob("data/*/*/manifest.json")]:
        path.unlink()
    refused(stored, "--pipeline=evaluation", TEST, words=["has no manifest", "--pipeline=full"])


# ---------------------------------------------------------------- a file of one's own


def write_events(project, name, seed=0):
    """Users of unequal activeness."""
    generator = np.random.default_rng(seed)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "timestamp": 1_600_000_000 + user * 1000 + at}
        for user in range(60)
        for at, item in enumerate(generator.permutation(20)[: 6 + user // 5])
    ]
    pd.DataFrame(rows).to_csv(project.folder / name, index=False)


@pytest.fixture(scope="module")
def own_data(new_project, tmp_path_factory):
    project = new_project(tmp_path_factory.mktemp("own_data"))
    write_events(project, "events.csv")
    for stage in STAGES[:2]:
        done = project.run(f"--pipeline={stage}", "--env=csv", "--params=filepath=events.csv")
        assert done.exit_code == 0, done.output
    return project


def stratify(project, name):
    return project.run("--pipeline=activeness_stratification", "--env=csv", f"--params=filepath={name}")


def test_a_source_that_has_moved_or_was_touched_is_the_same(own_data):
    shutil.copy(own_data.folder / "events.csv", own_data.folder / "moved.csv")
    (own_data.folder / "events.csv").touch()
    for name in ("moved.csv", "events.csv"):
        assert stratify(own_data, name).exit_code == 0


def test_another_source_or_another_reading_of_it_is_refused(own_data):
    write_events(own_data, "other.csv", seed=1)
    stage, way_out = "--pipeline=activeness_stratification", "kedro run --pipeline=data_validation --env=csv --params="
    refused(own_data, stage, "--env=csv", "--params=filepath=other.csv", words=["other.csv", "its content", way_out])
    parameters = "--params=filepath=events.csv,timestamp_unit=order"
    refused(own_data, stage, "--env=csv", parameters, words=["timestamp_unit = auto (this run: order)", way_out])
    refused(own_data, stage, TEST, words=["events.csv", "SyntheticInteractionsDataset", "--env=test"])


def test_a_source_that_changed_since_is_refused(own_data):
    write_events(own_data, "changed.csv")
    assert own_data.run("--pipeline=data_validation", "--env=csv", "--params=filepath=changed.csv").exit_code == 0
    write_events(own_data, "changed.csv", seed=2)
    assert "its content has changed" in " ".join(stratify(own_data, "changed.csv").output.split())


# ---------------------------------------------------------------- what says so


def test_the_evaluation_names_what_it_is_of(finished):
    lineage = json.loads(data(finished, "08_reporting/evaluation.json").read_text())["lineage"]
    for name, place in {"base_model": "06_models/base", "dataset": "05_model_input/dataset"}.items():
        assert lineage[name] == json.loads((data(finished, place) / "manifest.json").read_text())["content"]
    assert {"raw_interactions", "clean_events", "ranks"} <= lineage.keys()


def test_the_registered_version_carries_the_manifest_of_its_model(finished, tmp_path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias("pinet", "challenger")
    client.download_artifacts(version.run_id, "manifest.json", str(tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["content"] == version.tags["model.sha256"]
    assert manifest["lineage"]["dataset"]["configuration"]["splitting"]["rule"] == "leave_one_out"
    assert version.tags["code.version"] == manifest["code"]["version"]


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner"])
def test_lineage_is_the_same_with_nodes_in_threads_and_processes(finished, project, runner):
    result = project.run("--pipeline=data_validation", TEST, f"--runner={runner}")
    assert result.exit_code == 0, result.output
    manifests = [
        json.loads(data(p, "02_intermediate/clean_events.parquet.manifest.json").read_text())
        for p in (finished, project)
    ]
    contents = [{name: e["content"] for name, e in {**m["lineage"], "itself": m}.items()} for m in manifests]
    assert contents[0] == contents[1]
