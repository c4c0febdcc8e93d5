"""The tuned environment: what Kedro makes of it over conf/base is what was chosen, and it needs no other one."""

import shutil
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework import project
from kedro.framework.project import configure_project

from pinet_kedro.errors import InputError
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.settings import CONFIG_LOADER_ARGS
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.results import write_environment
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.training.config import BackboneTraining

ROOT = Path(__file__).parents[2]
RECORD = Record(
    study="backbone-0123", storage="a.journal", objective="head_and_tail", joint=False, judged="backbone alone",
    data="cafe", epochs=2, full_epochs=3, states={"complete": 2}, base={"head": 0.1, "tail": 0.1}, front=(1,),
    space={},
)  # fmt: skip
CHANGES = [
    {"aggregation": None},
    {"aggregation": {"rule": "deconfounded", "strength": 0.7}},
    {"aggregation": {"rule": "effective_number", "overlap": 0.9}},
    {"loss": {"name": "gbce", "negatives": 9}},
    {"backbone": {"name": "gru4rec", "hidden": 99, "width": 8}},
    {"backbone": {"name": "din", "heads": 4}},
]


def copy_of_conf(folder):
    if project.PACKAGE_NAME is None:
        configure_project("pinet_kedro")  # how Kedro merges environments
    # The benchmark's many methods take a third of the time that YAML needs for all parameters.
    left_out = shutil.ignore_patterns("local", "tuned", "parameters_benchmark.yml")
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=left_out)
    return folder / "conf"


@pytest.fixture
def conf(tmp_path):
    return copy_of_conf(tmp_path)


def parameters_of(conf, env, **given):
    return OmegaConfigLoader(str(conf), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)["parameters"]


def written(conf, env, changes, **given):
    """The merged parameters of the tuned environment, its own two texts, and what was chosen."""
    return tuned(conf, env, parameters_of(conf, env, **given), changes)


def tuned(conf, env, parameters, changes):
    section = plain(BackboneTraining.model_validate(parameters["backbone_training"])) | changes
    training = BackboneTraining.model_validate(section)
    plugins = PluginTraining.model_validate(parameters["plugin_training"] | {"ridge": 3.0})
    choice = Choice(label="trial 1", trial=1, why="it is", training=training, plugins=plugins)
    texts = write_environment(choice, RECORD, parameters, conf, env)
    (conf / "tuned").mkdir(exist_ok=True)
    for name, text in zip(("parameters", "catalog"), texts, strict=True):
        (conf / "tuned" / f"{name}.yml").write_text(text, encoding="utf-8")
    return parameters_of(conf, "tuned"), texts, training


@pytest.fixture(scope="module", params=["base", "test", "amazon_beauty", "paper_regime"])
def environment(request, tmp_path_factory):
    """An environment with its parameters, which YAML needs a quarter of a second to read."""
    conf = copy_of_conf(tmp_path_factory.mktemp(request.param))
    return conf, request.param, parameters_of(conf, request.param)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_kedro_makes_of_it_what_was_chosen(environment, changes):
    merged, _, training = tuned(*environment, changes)
    assert BackboneTraining.model_validate(merged["backbone_training"]) == training
    assert PluginTraining.model_validate(merged["plugin_training"]).ridge == 3.0


def test_the_data_come_along(conf, monkeypatch):
    _, (_, catalog), _ = written(conf, "amazon_beauty", {})
    assert yaml.safe_load(catalog) == yaml.safe_load((conf / "amazon_beauty" / "catalog.yml").read_text())


def test_the_header_names_study_data_and_versions(conf):
    _, (text, _), _ = written(conf, "test", {})
    for word in ("backbone-0123", "trial 1", "cafe", "environment test", "torch", "optuna", "UTC"):
        assert word in text.partition("\nbackbone")[0]


def test_parameters_of_the_command_line_are_included(conf):
    merged, (_, catalog), _ = written(
        conf, "csv", {}, filepath="events.csv", user="uid", cleaning={"min_user_events": 3}, exclude_seen=False
    )
    assert merged["cleaning"]["min_user_events"] == 3
    assert merged["exclude_seen"] is False
    entry = yaml.safe_load(catalog)["raw_interactions"]
    assert entry["filepath"] == "events.csv"
    assert entry["columns"] == {"user": "uid", "item": "item_id", "timestamp": "timestamp", "rating": None}
    assert entry["timestamp_unit"] == "auto"


@pytest.mark.parametrize("place", ["catalog.yaml", "data/catalog.yml", "catalog/shop.yml"])
def test_all_files_that_kedro_reads_come_along(conf, place):
    long = "/" + "a folder/" * 20 + "events.csv"
    entry = yaml.safe_load((conf / "csv" / "catalog.yml").read_text())["raw_interactions"]
    for name, content in (
        (place, {"raw_interactions": entry}),
        ("parameters.yaml", {"registration": {"refit": "none"}}),
    ):
        path = conf / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    merged, (_, catalog), _ = written(conf, "mine", {}, filepath=long)
    assert yaml.safe_load(catalog)["raw_interactions"]["filepath"] == long
    assert merged["registration"]["refit"] == "none"


def test_no_secret_is_written(conf, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team:secret@host")
    monkeypatch.setenv("PINET_TUNING_STORAGE", "postgresql://team:secret@host/trials")
    (conf / "prod" / "credentials.yml").write_text("aws: {key: secret}")
    merged, texts, _ = written(conf, "prod", {})
    assert "secret" not in "".join(texts)
    assert "tuning" not in yaml.safe_load(texts[0])
    assert merged["tracking"]["uri"] == "http://team:secret@host"


def test_a_setting_of_another_choice_in_base_is_named(conf):
    path = conf / "base" / "parameters_backbone_training.yml"
    text = path.read_text()
    assert "  aggregation: {rule: backdoor}\n" in text
    path.write_text(text.replace("{rule: backdoor}\n", "{rule: backdoor, strength: 0.2}\n"))
    with pytest.raises(InputError, match=r"backbone_training .*strength"):
        written(conf, "test", {"aggregation": {"rule": "balanced"}})


def test_a_setting_of_base_that_would_change_the_choice_is_refused(conf):
    path = conf / "base" / "parameters_backbone_training.yml"
    parameters = yaml.safe_load(path.read_text())
    parameters["backbone_training"]["loss"] = {"name": "gbce"}
    parameters["backbone_training"]["schedule"]["item_updates"] = "lazy"
    path.write_text(yaml.safe_dump(parameters))
    schedule = plain(BackboneTraining().schedule)
    with pytest.raises(InputError, match="not what was chosen"):
        written(conf, "base", {"schedule": schedule})
