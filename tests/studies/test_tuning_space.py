"""What is wrong in a search space is named before the first trial."""

import sys
from pathlib import Path

import optuna
import pytest
import yaml
from pydantic import ValidationError

from pinet_kedro.aggregation.config import BackdoorConfig, DeconfoundedConfig
from pinet_kedro.errors import InputError
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.studies.tuning.space import build_space
from pinet_kedro.training.config import BackboneTraining

RATE = "backbone_training.schedule.learning_rate"
BACKBONE = "backbone_training.backbone.name"
BLOCKS = "backbone_training.backbone.blocks"
HIDDEN = "backbone_training.backbone.hidden"
ANY_RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def space_of(space, training=None, joint=False):
    config = Tuning.model_validate({"space": space})
    return build_space(config.space, training or BackboneTraining(), PluginTraining(), joint)


@pytest.mark.parametrize(
    ("name", "dimension", "words"),
    [
        ("backbone_training.schedule.lerning_rate", ANY_RATE, ("did you mean 'learning_rate'",)),
        ("learning_rate", ANY_RATE, ("not a parameter of training",)),
        ("stratification.strata", {"type": "int", "low": 2, "high": 9}, ("not a parameter of training",)),
        ("backbone_training.schedule", {"type": "int", "low": 2, "high": 9}, ("valid dictionary",)),
        ("backbone_training.seed.x", {"type": "int", "low": 2, "high": 9}, ("valid integer",)),
        ("backbone_training.schedule.batch_users", {"type": "float", "low": 16, "high": 64}, ("valid integer",)),
        ("backbone_training.aggregation.gate", {"type": "int", "low": 0, "high": 1}, ("valid boolean",)),
        (BACKBONE, {"type": "float", "low": 0, "high": 1}, ("expected tags",)),
        (BACKBONE, {"type": "categorical", "choices": ["sasrec", "bert"]}, ("bert",)),
        ("backbone_training.backbone.dropout", {"type": "float", "low": 0.1, "high": 1.5}, ("1.5", "less than 1")),
        (RATE, {"type": "float", "low": 0, "high": 0.1}, ("cannot be 0", "greater than 0")),
        ("backbone_training.schedule.batch_users", {"type": "int", "low": 0, "high": 9}, ("cannot be 0",)),
        (HIDDEN, {"type": "int", "low": 8, "high": 16}, ("'hidden' is no setting here",)),
        ("backbone_training.loss.negatives", {"type": "int", "low": 1, "high": 4}, ("no setting here",)),
        ("backbone_training.schedule.epochs", {"type": "int", "low": 1, "high": 4}, ("tuning.epochs",)),
        ("backbone_training.seed", {"type": "int", "low": 1, "high": 4}, ("tuning.seed",)),
        (RATE, ANY_RATE | {"when": {"backbone_training.backbone.kind": "x"}}, ("when", "backbone.kind")),
    ],
)
def test_a_dimension_that_cannot_be_is_named(name, dimension, words):
    with pytest.raises(InputError) as error:
        space_of({name: dimension}, BackboneTraining(aggregation=DeconfoundedConfig()))
    for word in (name, *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "dimension",
    [
        {"type": "float", "low": 2, "high": 1},
        {"type": "float", "low": 0, "high": 1, "log": True},
        {"type": "int", "low": 1.5, "high": 3},
        {"type": "categorical", "choices": []},
        {"type": "normal", "mean": 0},
        {"type": "float", "low": 0, "hihg": 1},
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused_with_its_name(dimension):
    with pytest.raises(ValidationError, match="learning_rate"):
        Tuning.model_validate({"space": {RATE: dimension}})


def test_a_setting_of_one_backbone_needs_a_condition_where_the_backbone_is_tuned():
    choices = {"type": "categorical", "choices": ["sasrec", "gru4rec"]}
    blocks = {"type": "int", "low": 1, "high": 3}
    with pytest.raises(InputError, match=r"blocks cannot be 1 with .*gru4rec"):
        space_of({BACKBONE: choices, BLOCKS: blocks})
    space_of({BACKBONE: choices, BLOCKS: blocks | {"when": {BACKBONE: "sasrec"}}})


def test_conditions_in_a_circle_are_refused():
    dropout = "backbone_training.backbone.dropout"
    with pytest.raises(InputError, match="form a circle"):
        space_of({RATE: ANY_RATE | {"when": {dropout: 0.5}},
                  dropout: {"type": "float", "low": 0.1, "high": 0.5, "when": {RATE: 0.1}}})  # fmt: skip


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec"])
def test_a_trial_has_the_dimensions_of_its_backbone_and_no_settings_of_another(backbone):
    space = space_of(
        {
            BLOCKS: {"type": "int", "low": 1, "high": 3, "when": {BACKBONE: "sasrec"}},
            HIDDEN: {"type": "int", "low": 8, "high": 16, "when": {BACKBONE: ["gru4rec", "din"]}},
            BACKBONE: {"type": "categorical", "choices": ["sasrec", "gru4rec"]},
        },
        BackboneTraining.model_validate({"backbone": {"name": "sasrec", "width": 16, "heads": 4}}),
    )
    values = space.suggest(optuna.trial.FixedTrial({BACKBONE: backbone, BLOCKS: 1, HIDDEN: 9}))
    assert list(values) == [BACKBONE, BLOCKS if backbone == "sasrec" else HIDDEN]
    trained = space.configured(values)[0].backbone
    assert (trained.name, trained.width) == (backbone, 16)
    assert (trained.blocks if backbone == "sasrec" else trained.hidden) == (1 if backbone == "sasrec" else 9)


def test_a_condition_on_what_is_not_tuned_asks_the_shipped_configuration():
    blocks = {BLOCKS: {"type": "int", "low": 1, "high": 3, "when": {BACKBONE: "sasrec"}}, RATE: ANY_RATE}
    gru = BackboneTraining.model_validate({"backbone": {"name": "gru4rec"}})
    assert list(space_of(blocks, gru).suggest(optuna.trial.FixedTrial({RATE: 0.001, BLOCKS: 2}))) == [RATE]


def test_the_shipped_configuration_is_a_trial_of_a_space_that_holds_it():
    assert space_of({RATE: ANY_RATE}).shipped() == {RATE: 0.002}
    assert space_of({RATE: ANY_RATE | {"low": 0.005}}).shipped() == {}


def test_joint_training_leaves_the_aggregation_out():
    strength = {"backbone_training.aggregation.strength": {"type": "float", "low": 0, "high": 1}}
    assert list(space_of(strength | {RATE: ANY_RATE}, joint=True).dimensions) == [RATE]
    with pytest.raises(InputError, match="nothing is left"):
        space_of(strength, joint=True)


def test_parameters_of_the_plugins_can_be_tuned_where_they_are_switched_off():
    name = "plugin_training.factors.regularization"
    space = build_space(
        Tuning.model_validate({"space": {name: {"type": "float", "low": 1, "high": 9}}}).space,
        BackboneTraining(), PluginTraining(factors=None),
    )  # fmt: skip
    assert space.tunes_plugins
    assert space.configured({name: 3.0})[1].factors.regularization == 3.0


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec", "din", "lrurec"])
def test_the_shipped_space_goes_with_every_backbone_and_has_the_strength(backbone):
    path = Path(__file__).parents[2] / "conf" / "base" / "parameters_tuning.yml"
    shipped = yaml.safe_load(path.read_text(encoding="utf-8"))["tuning"]
    strength, given = "backbone_training.aggregation.strength", {"backbone": {"name": backbone}}
    joint = space_of(shipped["space"], BackboneTraining.model_validate(given))
    assert joint.configured({strength: 0.3})[0].aggregation == BackdoorConfig(strength=0.3)
    given["aggregation"] = {"rule": "deconfounded"}
    assert strength in space_of(shipped["space"], BackboneTraining.model_validate(given)).shipped()
    assert Tuning.model_validate(shipped).workers == 2


def test_fresh_seeds_are_fresh():
    with pytest.raises(ValidationError, match="fresh"):
        Tuning.model_validate({"space": {RATE: ANY_RATE}, "trials": 101, "seed": 1})


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'pinet-kedro\[studies\]'"):
        space_of({RATE: ANY_RATE})
