"""The same training is one version, however often it is registered; on a registry with a real model."""

import contextlib
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from pinet_kedro.datasets.manifests import FORMAT, Manifest
from pinet_kedro.fitting.two_stage import in_two_stages
from pinet_kedro.recommender import new_recommender
from pinet_kedro.registry.loading import VersionModels
from pinet_kedro.registry.registration import register_model, register_once
from pinet_kedro.registry.users import hash_users
from pinet_kedro.retraining.steps import TrainingRecord, register
from pinet_kedro.retrieval.config import TwoStage
from pinet_kedro.tracking.config import Tracking

pytestmark = pytest.mark.slow

NEWEST = {"training": 1, "before_test": 2, "all": 3}
DATA = {"sha256": "d" * 64, "users": 1, "items": 1, "events": 1, "newest_event": NEWEST}
EVALUATION = {"models": {"pin": {"tail": {"ndcg_at_10": 0.25}}}, "comparisons": {"pin_vs_base": {}}, "data": DATA}
TAGS = {"model.sha256": "m" * 64, "code.git": "abc"}


@pytest.fixture(scope="module")
def registered(planted_world, joint_backbone, tmp_path_factory):
    """A registry with the first version, and its model."""
    folder = tmp_path_factory.mktemp("registry")
    config = Tracking(uri=f"sqlite:///{folder / 'mlflow.db'}")
    models = VersionModels(new_recommender(joint_backbone, planted_world.dataset))
    with contextlib.chdir(folder):
        first = register_once(models, EVALUATION, config, TAGS, {})
        assert (first["version"], "registered_before" in first) == ("1", False)
        yield config, models


def numbers():
    return sorted(int(version.version) for version in mlflow.MlflowClient().search_model_versions("name = 'pinet'"))


def aliases():
    return {
        alias: str(version) for alias, version in mlflow.MlflowClient().get_registered_model("pinet").aliases.items()
    }


def test_the_same_training_is_no_second_version_and_becomes_the_challenger_unless_it_is_the_champion(registered):
    config, models = registered
    client = mlflow.MlflowClient()
    other = register_once(models, EVALUATION, config, TAGS | {"model.sha256": "n" * 64}, {})
    assert (other["version"], aliases()) == ("2", {"challenger": "2"})
    run = client.create_run("0").info.run_id
    again = register_once(models, EVALUATION, config, TAGS | {"code.git": "of another commit"}, {}, run)
    assert (again["version"], again["alias"], again["registered_before"]) == ("1", "challenger", True)
    assert again["run_id"] == client.get_model_version("pinet", "1").run_id
    assert client.get_run(run).data.tags["same_as"] == "pinet version 1"
    assert (numbers(), aliases()) == ([1, 2], {"challenger": "1"})
    client.set_registered_model_alias("pinet", "champion", "1")
    client.set_registered_model_alias("pinet", "challenger", "2")
    assert register_once(models, EVALUATION, config, TAGS, {})["alias"] == "champion"
    assert (numbers(), aliases()) == ([1, 2], {"champion": "1", "challenger": "2"})


def test_other_data_other_figures_other_users_and_damaged_files_are_new_versions(registered):
    config, models = registered
    known = numbers()
    source = mlflow.MlflowClient().get_model_version_download_uri("pinet", "1")
    weights = Path(mlflow.artifacts.download_artifacts(source)) / "artifacts/recommender/weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1])
    assert "registered_before" not in register_once(models, EVALUATION, config, TAGS, {})
    weights.write_bytes(kept)
    others = [
        EVALUATION | {"data": DATA | {"sha256": "e" * 64}},
        EVALUATION | {"models": {"pin": {"tail": {"ndcg_at_10": 0.5}}}},
    ]
    for evaluation in others:
        assert "registered_before" not in register_once(models, evaluation, config, TAGS, {})
    with_users = replace(models, users=hash_users(["u1", "u2"]))
    for version, registered_before in ((with_users, False), (with_users, True)):
        assert ("registered_before" in register_once(version, EVALUATION, config, TAGS, {})) == registered_before
    assert len(numbers()) == len(known) + 4


def test_retraining_takes_over_the_version_that_it_has_trained_and_no_other(registered):
    """The same files and parameters may train another model: with other categories of items, or by other code."""
    config, models = registered
    record = TrainingRecord("key", "cold: why", "global_time", {"a.csv": "1"})

    def made(weights):
        entry = {"dataset": "shipped_model", "content": weights, "place": "", "configuration": {}, "lineage": {}}
        manifest = Manifest.model_validate({"format": FORMAT, **entry})
        return register(models, manifest, EVALUATION, record, config, None)["version"]

    first, other = made("a" * 64), made("b" * 64)
    assert other != first
    assert (made("a" * 64), made("b" * 64)) == (first, other)
    assert aliases()["challenger"] == other


def test_a_version_says_what_it_is_and_the_words_of_a_user_stay(registered):
    config, models = registered
    client = mlflow.MlflowClient()
    assert "`champion`" in client.get_registered_model("pinet").description
    client.update_registered_model("pinet", "ours")
    served = replace(models.served, exclude_seen=False)
    made = register_model(VersionModels(served), EVALUATION, config)
    assert client.get_registered_model("pinet").description == "ours"
    assert "Items of the history may be recommended." in client.get_model_version("pinet", made["version"]).description


def test_a_version_with_an_index_answers_with_it_and_is_another_version(registered, planted_world):
    config, models = registered
    served = in_two_stages(models.served, planted_world.dataset, TwoStage(from_items=1, number=50))
    made = register_once(replace(models, served=served), EVALUATION, config, TAGS, {})
    assert "registered_before" not in made
    assert "registered_before" in register_once(replace(models, served=served), EVALUATION, config, TAGS, {})
    tag = mlflow.MlflowClient().get_model_version("pinet", made["version"]).tags["two_stage"]
    assert tag == str(served.candidates)
    loaded = mlflow.pyfunc.load_model(f"models:/pinet/{made['version']}")
    assert "faiss-cpu" in Path(mlflow.pyfunc.get_model_dependencies(f"models:/pinet/{made['version']}")).read_text()
    ids = planted_world.item_ids.tolist()
    requests = [{"history": ids[row : row + 5]} for row in range(20)]
    found = loaded.predict(requests, params={"k": 10})
    searched = loaded.unwrap_python_model().recommender.candidates
    assert searched.recall == served.candidates.recall
    for mine, request in zip(found, requests, strict=True):
        assert mine["items"] == models.served.recommend([request["history"]], 10)[0].items
