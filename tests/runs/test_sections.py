"""A parameter that cannot be is refused with its name, its value and what it may be; nothing is converted silently."""

import copy
from pathlib import Path

import pytest
from kedro.framework.project import configure_project, pipelines
from kedro.validation import TypeExtractor
from pydantic import StrictBool

from pinet_kedro.errors import InputError
from pinet_kedro.runs.loader import ConfigurationLoader
from pinet_kedro.runs.sections import SECTIONS, typed_sections
from pinet_kedro.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).parents[2]
NAN, INF = float("nan"), float("inf")
CASES = [
    # whole numbers are not text, truth, fractions
    ("backbone_training.schedule.epochs", "3", ["is text", "from 1 to 100,000"]),
    ("backbone_training.schedule.epochs", True, ["= true", "a whole number"]),
    ("backbone_training.schedule.epochs", 3.7, ["= 3.7", "a whole number"]),
    ("backbone_training.schedule.epochs", None, ["= null", "a whole number"]),
    ("backbone_training.schedule.epochs", [3], ["= [3]", "a whole number"]),
    ("backbone_training.schedule.epochs", {"a": 3}, ["a whole number"]),
    ("backbone_training.schedule.epochs", 0, ["= 0"]),
    ("backbone_training.schedule.epochs", 10**18, ["from 1 to 100,000"]),
    ("backbone_training.schedule.epochs", 10**400, ["digits"]),
    # seeds
    ("backbone_training.seed", -1, ["from 0 to 4,294,967,295"]),
    ("backbone_training.seed", 2**32, ["from 0 to 4,294,967,295"]),
    ("plugin_training.seed", -5, ["from 0 to 4,294,967,295"]),
    ("plugin_training.factors.seed", 2**64, ["from 0 to 4,294,967,295"]),
    ("gradient_noise.seed", 2**63, ["from 0 to 4,294,967,295"]),
    ("tuning.seed", -1, ["from 0 to 4,294,967,295"]),
    ("benchmark.seeds", [1, -2], ["benchmark.seeds[1] = -2"]),
    ("benchmark.seeds", [1, 1], ["seeds must differ"]),
    ("tuning.finalists.seeds", [], ["not empty"]),
    # numbers are finite
    ("plugin_training.ridge", INF, ["= inf", "from 0 to 1e+09"]),
    ("plugin_training.ridge", -1, ["= -1"]),
    ("backbone_training.schedule.learning_rate", NAN, ["= nan", "above 0 and at most 1e+30"]),
    ("backbone_training.schedule.learning_rate", -INF, ["= -inf"]),
    ("backbone_training.schedule.learning_rate", "fast", ["is text"]),
    ("cleaning.rating_threshold", NAN, ["a number or null"]),
    ("promotion.gates.tail.above", INF, ["from -1 to 100"]),
    ("tuning.tail_weight", NAN, ["from 0 to 1"]),
    # alternatives and their names
    ("backbone_training.backbone.name", "sasrc", ["did you mean 'sasrec'?"]),
    ("backbone_training.backbone.name", "../x", ["'sasrec', 'gru4rec', 'din' or 'lrurec'"]),
    ("backbone_training.backbone.heads", 3, ["multiple of heads", "heads = 3"]),
    ("backbone_training.backbone.dropout", 1.0, ["at least 0 and below 1"]),
    ("backbone_training.backbone", 3, ["a section with width, max_length, dropout, name"]),
    ("backbone_training.loss", None, ["a section with name"]),
    ("backbone_training.aggregation", {"rule": "backdoor", "strength": 2}, ["aggregation.strength = 2"]),
    ("backbone_training.aggregation", {"rule": "backdor"}, ["did you mean 'backdoor'?"]),
    ("backbone_training.schedul", {}, ["'schedul'", "did you mean 'schedule'?"]),
    ("splitting.rule", "leave_one_outt", ["did you mean 'leave_one_out'?"]),
    ("stratification.thresholds", [10, "50"], ["thresholds[1] = '50'"]),
    ("stratification.thresholds", 10, ["a list"]),
    ("plugin_training.memory_search.decay", [0.5, 2.0], ["decay[1] = 2.0"]),
    # sections
    ("splitting", [], ["splitting = []", "a section with rule, valid_share, test_share"]),
    ("splitting", None, ["splitting = null"]),
    ("backbone_training", 7, ["backbone_training = 7"]),
    ("exclude_seen", "yes", ["exclude_seen = 'yes'", "true or false"]),
    # names and addresses
    ("tracking.model", "a/b", ["must not contain '/'"]),
    ("tracking.model", "", ["empty or blank"]),
    ("tracking.model", "  ", ["empty or blank"]),
    ("tracking.model", "a\nb", ["line breaks"]),
    ("tracking.model", "ä" * 5000, ["at most"]),
    ("tracking.uri", "mlruns", ["sqlite:///mlflow.db"]),
    ("tracking.uri", "ftp://host", ["no store of this kind"]),
    ("tracking.uri", "http://", ["names no host"]),
    ("serving.version", "../champion", ["an alias"]),
    ("serving.port", 70000, ["from 0 to 65,535"]),
    ("serving.workers", 10**6, ["from 1 to 256"]),
    ("backbone_training.threads", 10**9, ["from 1 to 1,024 or null"]),
    ("schedule.cron", "soon", ["no cron expression"]),
    ("schedule.timezone", "Mars/Olympus", ["no time zone"]),
    ("schedule.time_limit_hours", 1e300, ["at most 8,760"]),
    ("benchmark.methods", {"a/b": {}}, ["must not contain '/'"]),
    ("benchmark.methods", {"a+b": {}}, ["must not contain '+'"]),
    ("tuning.space", {"x": {"type": "float", "low": 2, "high": 1}}, ["low must lie below high"]),
    ("tuning.space", {"x": {"type": "int", "low": 1.5, "high": 2}}, ["tuning.space.x.low = 1.5"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    configure_project("pinet_kedro")
    return ConfigurationLoader(str(ROOT / "conf"), env="test", **CONFIG_LOADER_ARGS)["parameters"]


def changed(parameters, name, value):
    parameters = copy.deepcopy(parameters)
    *path, last = name.split(".")
    section = parameters
    for part in path:
        section = section[part]
    section[last] = value
    return parameters


@pytest.mark.parametrize(("name", "value", "words"), CASES, ids=lambda part: str(part)[:40])
def test_a_wrong_value_is_refused_with_name_and_range(shipped, name, value, words):
    with pytest.raises(InputError) as refused:
        typed_sections(changed(shipped, name, value))
    message = str(refused.value)
    for word in (name.split(".")[0], *words):
        assert word in message
    assert "pydantic" not in message
    assert len(message) < 800


def test_what_is_shipped_is_right(shipped):
    typed_sections(shipped)


def test_whole_numbers_are_taken_for_numbers(shipped):
    typed_sections(changed(shipped, "plugin_training.ridge", 20))


def test_a_version_may_be_written_as_a_number(shipped):
    typed_sections(changed(shipped, "serving.version", 3))


def test_all_that_is_wrong_is_listed_in_bounded_length(shipped):
    for name in ("epochs", "batch_users", "validate_every"):
        shipped = changed(shipped, f"backbone_training.schedule.{name}", 0)
    shipped = changed(shipped, "benchmark.seeds", [-1] * 1000)
    with pytest.raises(InputError, match=r"100\d parameters are wrong") as refused:
        typed_sections(shipped)
    assert "schedule.validate_every = 0" in str(refused.value)
    assert "more" in str(refused.value)


def test_the_types_are_those_that_the_pipelines_take():
    configure_project("pinet_kedro")
    of_nodes = TypeExtractor(dict(pipelines)).extract_types_from_pipelines()
    of_nodes.pop("exclude_seen", None)
    assert of_nodes.items() <= SECTIONS.items()
    assert SECTIONS["exclude_seen"] is StrictBool
