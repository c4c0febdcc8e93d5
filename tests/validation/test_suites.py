"""A suite that would check less than it says is refused, with file, table, rule and the way out."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node

from pinet_kedro.errors import InputError
from pinet_kedro.pipelines.namespaces import in_retraining
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.intake import take_in
from pinet_kedro.retraining.partitions import PartitionsDataset
from pinet_kedro.validation.gate import ExpectationGate
from pinet_kedro.validation.suites import SuiteError, check_gates, read_suites

SUITES = Path(__file__).parents[2] / "conf/base/expectations"
PRESENT = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "user_id"}}
BETWEEN = "expect_column_values_to_be_between"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(expectations, table="events", **more):
    Path("suite.json").write_text(json.dumps({table: {"name": "x", "expectations": expectations, **more}}))
    return "suite.json"


def events(users=("a", "b"), **more):
    return pd.DataFrame({"user_id": list(users), "item_id": ["i", "j"], "timestamp": [1, 2], **more})


@pytest.mark.parametrize("name", ["raw_events", "clean_events"])
def test_the_shipped_suites_are_in_order(folder, name):
    shutil.copy(SUITES / f"{name}.json", folder)
    assert "events" in read_suites(f"{name}.json")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (PRESENT | {"type": PRESENT["type"][:-1]}, [f"Did you mean '{PRESENT['type']}'"]),
        (PRESENT | {"type": "expect_x"}, ["no expectation 'expect_x'"]),
        (PRESENT | {"kwarg": {}}, ["no 'kwarg'", "Did you mean 'kwargs'"]),
        ({"type": BETWEEN, "kwargs": {"column": "timestamp", "min_valu": 1, "max_value": 2}}, ["min_valu"]),
        ({"type": BETWEEN, "kwargs": {"column": "timestamp"}}, ["neither min_value nor max_value"]),
        ({"type": BETWEEN, "kwargs": {"column": "timestamp", "min_value": 3, "max_value": 1}}, ["3 is above"]),
        ({"type": BETWEEN, "kwargs": {"column": "timestamp", "max_value": {"$PARAMETER": "nwo"}}}, ["mean 'now'"]),
        ({"type": "expect_table_row_count_to_be_between", "kwargs": {}}, ["neither min_value nor max_value"]),
        (PRESENT | {"kwargs": {}}, ["column: field required"]),
        (PRESENT | {"kwargs": {"column": "user_id", "mostly": 1.5}}, ["mostly", "less than or equal to 1"]),
        (PRESENT | {"kwargs": {"column": "user_id", "mostly": 0}}, ["mostly = 0"]),
        ({"type": "expect_column_values_to_be_in_type_list", "kwargs": {"column": "user_id"}}, ["has no type_list"]),
        ({"type": "expect_column_values_to_not_be_in_set", "kwargs": {"column": "user_id", "value_set": []}},
         ["has no value_set"]),
        ({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "user_id", "regex": ""}}, ["no regex"]),
        ({"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": None}}, ["has no column_set"]),
        (PRESENT | {"severity": "urgent"}, ["severity", "urgent"]),
        (PRESENT | {"meta": {"only_for": "clok"}}, ["Did you mean 'clock'"]),
        (PRESENT | {"meta": {"onlyfor": "clock"}}, ["Did you mean 'only_for'"]),
        ("expect_column_to_exist", ["must be an object with a type and kwargs"]),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_check_is_refused_before_data_are_read(rule, words):
    suite = write([PRESENT, rule])
    with pytest.raises(SuiteError) as error:
        read_suites(suite)
    for word in ["suite.json, events, rule 2", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"events": {"name": "x", "expectations": []}}', "would check nothing"),
        ('{"events": {"name": "x", "expectation": []}}', "Did you mean 'expectations'"),
        ('{"event": {"name": "x", "expectations": []}}', "Did you mean 'events'"),
        ('{"events": {"expectations": [1]}}', "needs a name"),
        ('{"events": {"name": "x", "name": "y", "expectations": [1]}}', "'name' is there twice"),
        ("{}", "must hold suites"),
        ("{", "no readable file"),
    ],
)
def test_a_file_that_checks_nothing_is_refused(text, words):
    Path("suite.json").write_text(text)
    with pytest.raises(SuiteError, match=words):
        read_suites("suite.json")


def test_a_column_of_a_derived_table_is_known_beforehand():
    suite = write([{"type": BETWEEN, "kwargs": {"column": "activenes", "min_value": 1}}], "users")
    with pytest.raises(SuiteError, match="Did you mean 'activeness'"):
        read_suites(suite)


def test_a_rule_on_a_column_that_is_not_there_is_refused():
    rule = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "user"}}
    gate = ExpectationGate(write([PRESENT, rule]))
    with pytest.raises(SuiteError, match="about a column 'user', and there is none"):
        gate.validate(events())
    gate.validate(events(user=[1, 2]))
    ExpectationGate(write([PRESENT, rule | {"meta": {"only_for": "user"}}])).validate(events())


def test_a_suite_of_which_no_rule_is_about_the_data_is_refused():
    suite = write([PRESENT | {"meta": {"only_for": "rating"}}])
    with pytest.raises(SuiteError, match="none of its rules is about the data"):
        ExpectationGate(suite).validate(events())


def test_a_wrong_suite_sets_no_partition_aside(folder):
    incoming = folder / "incoming"
    incoming.mkdir()
    events().to_csv(incoming / "a.csv", index=False)
    dataset = {"type": "pinet_kedro.datasets.files.InteractionsDataset", "columns": {}}
    delivery = PartitionsDataset(path="incoming", dataset=dataset).load()
    suite = write([PRESENT | {"type": "expect_column_values_to_not_be_nul"}])
    with pytest.raises(SuiteError, match="rule 1"):
        take_in(delivery, Retraining(suite=suite, rejected="rejected"))
    assert (incoming / "a.csv").exists()
    assert not (folder / "rejected").exists()


def run_on(entry, **more):
    return Pipeline([node(lambda events: events, "raw_interactions", "out")]), DataCatalog.from_config(
        {"raw_interactions": {"type": "pandas.CSVDataset", "filepath": "e.csv", **entry}, **more}
    )


GATE = {"class": "pinet_kedro.validation.gate.ExpectationGate", "on": "load"}


def test_an_environment_that_forgets_the_gate_is_refused():
    with pytest.raises(InputError, match="'raw_interactions' of the catalog has no gate on load"):
        check_gates(*run_on({}))
    with pytest.raises(InputError, match="has no gate on load"):
        check_gates(*run_on({"validator": GATE | {"on": "save"}}))


def test_a_gate_that_is_switched_off_is_none():
    with pytest.raises(InputError, match="'raw_interactions' of the catalog has no gate on load"):
        check_gates(*run_on({"validator": GATE | {"enabled": False}}))


@pytest.mark.parametrize(("name", "mode"), [("all_interactions", "load"), ("clean_events", "save")])
def test_retraining_has_its_gates_as_well(name, mode):
    """Their names begin with that of its namespace, and it makes the first of them itself."""
    steps = [node(lambda x: x, "raw_log", "all_interactions"), node(lambda x: x, "all_interactions", "clean_events")]
    steps = in_retraining(Pipeline(steps), {"raw_log"})
    gate = GATE | {"options": {"suite": write([PRESENT])}}
    gates = {"all_interactions": gate, "clean_events": gate | {"on": "save"}}
    entries = {
        f"retraining.{entry}": {"type": "pandas.CSVDataset", "filepath": f"{entry}.csv"}
        | ({"validator": gate} if entry != name else {})
        for entry, gate in gates.items()
    }
    with pytest.raises(InputError, match=f"'retraining.{name}' of the catalog has no gate on {mode}"):
        check_gates(steps, DataCatalog.from_config(entries))


def test_a_gate_with_a_wrong_suite_is_refused_before_the_first_node():
    good, bad = write([PRESENT]), PRESENT | {"type": "expect_nothing"}
    check_gates(*run_on({"validator": GATE | {"options": {"suite": good}}}))
    write([bad])
    with pytest.raises(SuiteError, match="no expectation 'expect_nothing'"):
        check_gates(*run_on({"validator": GATE | {"options": {"suite": good}}}))
