"""A backbone is chosen by its name, on the default data by an environment of that name."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from pydantic import ValidationError

from pinet_kedro.settings import CONFIG_LOADER_ARGS
from pinet_kedro.training.config import BackboneTraining

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = sorted(p.parent.name for p in (ROOT / "conf").glob("*/parameters.yml"))
OF_SASREC = "amazon_beauty_strong"  # has settings that other backbones do not have


def training(environment, **chosen):
    given = {"backbone_training": {"backbone": chosen}} if chosen else None
    loader = OmegaConfigLoader(str(ROOT / "conf"), env=environment, runtime_params=given, **CONFIG_LOADER_ARGS)
    return BackboneTraining.model_validate(loader["parameters"]["backbone_training"])


@pytest.mark.parametrize("environment", ["gru4rec", "din", "lrurec"])
def test_environment_names_the_backbone(environment):
    assert training(environment).backbone.name == environment


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "din", "lrurec"])
@pytest.mark.parametrize("environment", sorted({*ENVIRONMENTS} - {OF_SASREC}))
def test_every_environment_goes_with_every_backbone(environment, name, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # prod asks for it
    assert training(environment, name=name).backbone.name == name


def test_an_environment_of_one_backbone_says_so():
    assert training(OF_SASREC).backbone.block == "original"
    with pytest.raises(ValidationError, match="'block' is no setting here"):
        training(OF_SASREC, name="din")


@pytest.mark.parametrize("name", ["gru4rec", "din", "lrurec"])
def test_whole_pipeline_runs_on_it(project, name):
    result = project.run("--pipeline=full", "--env=test", f"--params=backbone_training.backbone.name={name}")
    assert result.exit_code == 0, result.output


def test_setting_of_another_backbone_is_refused(project):
    result = project.run("--pipeline=full", "--env=din", "--params=backbone_training.backbone.blocks=2")
    assert result.exit_code == 1
    assert "'blocks' is no setting here" in result.output
    assert not project.files()
