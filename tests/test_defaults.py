"""A default is in `conf/base` and in the typed configuration; these tests keep the two equal."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from pinet_kedro.aggregation.config import AggregationConfig
from pinet_kedro.backbones.config import BackboneConfig
from pinet_kedro.losses.config import LossConfig
from pinet_kedro.runs.sections import SECTIONS

BASE = Path(__file__).parents[1] / "conf" / "base"
# Values in YAML that differ from the type's default on purpose.
NO_DEFAULTS = {
    "retraining_splitting.rule",  # the type of `splitting`, used for another split
    "benchmark.ablations",  # what the shipped benchmark compares
    "benchmark.methods",
}
# conf/base names one of these alternatives and none of its fields: an environment may name another one, and fields of
# the first would then be refused. Comments give the defaults instead.
ALTERNATIVES = {
    "backbone_training.backbone": BackboneConfig,
    "backbone_training.loss": LossConfig,
    "backbone_training.aggregation": AggregationConfig,
}
on_all_sections = pytest.mark.parametrize("section", [name for name in SECTIONS if name != "exclude_seen"])


@pytest.fixture(scope="module")
def shipped():
    """All parameters of conf/base."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(BASE.glob("parameters*.yml"))]
    parameters = {name: value for file in files for name, value in file.items()}
    assert len(parameters) == sum(map(len, files))
    return parameters


def typed_sections(parameters, name):
    """`(path, typed value, value in YAML)` of a section and of every section in it."""
    found = [(name, TypeAdapter(SECTIONS[name]).validate_python(parameters[name]), parameters[name])]
    for path, model, raw in found:  # grows while it is read
        inner = [(f"{path}.{field}", getattr(model, field), value) for field, value in raw.items()]
        found += [entry for entry in inner if isinstance(entry[1], BaseModel) and isinstance(entry[2], dict)]
    return found


def test_every_parameter_of_conf_base_has_a_type(shipped):
    assert set(shipped) == set(SECTIONS)


@on_all_sections
def test_values_in_yaml_are_the_typed_defaults(shipped, section):
    differing = set()
    for path, model, raw in typed_sections(shipped, section):
        for name in raw:
            field = type(model).model_fields[name]
            if not field.is_required() and getattr(model, name) != field.get_default(call_default_factory=True):
                differing.add(f"{path}.{name}")
    assert differing == {path for path in NO_DEFAULTS if path.startswith(f"{section}.")}


@on_all_sections
def test_yaml_has_every_field_of_a_type(shipped, section):
    for path, model, raw in typed_sections(shipped, section):
        if path not in ALTERNATIVES:
            assert set(raw) == set(type(model).model_fields), path


def defaults_of_alternatives():
    for path, union in ALTERNATIVES.items():
        for model in union.__origin__.__args__:
            for name, field in model.model_fields.items():
                if name not in ("name", "rule") and not field.is_required():
                    yield pytest.param(name, field.get_default(), id=f"{path}-{model.__name__}.{name}")


@pytest.mark.parametrize(("name", "default"), defaults_of_alternatives())
def test_comments_give_the_defaults_of_the_alternatives(name, default):
    text = (BASE / "parameters_backbone_training.yml").read_text(encoding="utf-8")
    comments = " ".join(line.partition("#")[2] for line in text.splitlines())
    value = default if isinstance(default, str) else json.dumps(default)
    assert re.search(rf"\b{name}: {re.escape(value)}(?![\w.])", comments)
