"""Another rule or loss is one line in an environment or on the command line, merged over `conf/base`."""

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from pydantic import ValidationError

from pinet_kedro.settings import CONFIG_LOADER_ARGS
from pinet_kedro.training.config import BackboneTraining
from projects import ROOT

SWITCHES = [
    {"aggregation": {"rule": "backdoor", "strength": 0.7}},
    {"aggregation": {"strength": 0.7}},
    {"aggregation": {"rule": "effective_number"}},
    {"aggregation": {"rule": "torchjd", "name": "PCGrad"}},
    {"aggregation": {"rule": "deconfounded", "strength": 0.7, "scope": "global", "parameters": "body"}},
    {"loss": {"name": "bce", "negatives": 4}},
    {"loss": {"name": "gbce"}},
    {"loss": {"name": "full_softmax", "focal": 2.0}},
]


def configured(changes, env="test", folder=None):
    arguments = {**CONFIG_LOADER_ARGS, "runtime_params": {"backbone_training": changes} if folder is None else None}
    loader = OmegaConfigLoader(str(folder or ROOT / "conf"), env=env, **arguments)
    return BackboneTraining.model_validate(loader["parameters"]["backbone_training"])


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
@pytest.mark.parametrize("env", ["test", "amazon_beauty"])
def test_runtime_parameters_switch_without_a_trace_of_the_old_choice(changes, env):
    config = configured(changes, env)
    for part, settings in changes.items():
        assert settings.items() <= getattr(config, part).model_dump().items()


@pytest.mark.parametrize("changes", SWITCHES, ids=str)
def test_environment_switches_as_well(changes, tmp_path):
    for name in ("base", "mine"):
        (tmp_path / name).mkdir()
    base = (ROOT / "conf" / "base" / "parameters_backbone_training.yml").read_text()
    (tmp_path / "base" / "parameters.yml").write_text(base)
    (tmp_path / "mine" / "parameters.yml").write_text(yaml.safe_dump({"backbone_training": changes}))
    assert configured(None, "mine", tmp_path) == configured(changes, "base")


def test_dial_of_another_rule_is_refused_with_the_rule_and_its_dials():
    with pytest.raises(ValidationError, match=r"aggregation\.backdoor\n.*'decay' is no setting.*rule, strength"):
        configured({"aggregation": {"rule": "backdoor", "decay": 0.9}})
