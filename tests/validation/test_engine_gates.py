"""The gates on DuckDB: their verdicts and messages are those of the gates on pandas, word for word."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_expectations import BAD, CLEAN, COLUMNS, RAW, SUITES, changed, clean, log, refusal

from pinet_kedro.engines.engine import EngineConfig, open_engine
from pinet_kedro.engines.gate import EngineGate
from pinet_kedro.engines.logs import CleanTables, RawTables
from pinet_kedro.engines.staging import stage
from pinet_kedro.interactions.events import Cleaning, Columns, read_interactions
from pinet_kedro.validation.gate import ExpectationGate
from pinet_kedro.validation.suites import SuiteError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the suites of the project, in which the command is run."""
    shutil.copytree(SUITES, tmp_path / "conf/base/expectations")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_duckdb(source, columns=COLUMNS, unit="s"):
    engine = open_engine(EngineConfig(memory="500MB", threads=1, block_events=500), Path("engine"))
    return RawTables(engine, stage(Path(source), columns, unit, Path("engine/staged")))


def outcome(name):
    """The stored result of a suite: success and statistics of its tables, and of each rule how many rows break it."""
    stored = json.loads(Path(f"data/08_reporting/data_docs/{name}/result.json").read_text())
    rules = {
        rule["expectation_config"]["description"]: (rule["success"], rule["result"].get("unexpected_index_list"))
        for table in stored["tables"]
        for rule in table["results"]
    }
    return stored["success"], [table["statistics"] for table in stored["tables"]], rules


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_gets_the_same_refusal(case):
    BAD[case].events.to_csv("events.csv", index=False)
    expected = refusal(ExpectationGate(RAW), read_interactions(Path("events.csv"), COLUMNS, "s"))
    found = outcome("raw_events")
    assert refusal(EngineGate(RAW), on_duckdb("events.csv")) == expected
    assert not Path("engine").exists()  # what is refused leaves nothing
    assert outcome("raw_events") == found


def test_rows_of_several_files_are_named_with_their_file():
    (Path("events")).mkdir()
    bad = changed("uid", None)
    for number in range(4):
        bad.iloc[400 * number : 400 * (number + 1)].to_csv(f"events/{number}.csv", index=False)
    changed("stars", "good").iloc[:10].to_csv("events/9.csv", index=False)
    message = refusal(EngineGate(RAW), on_duckdb("events"))
    assert message == refusal(ExpectationGate(RAW), read_interactions(Path("events"), COLUMNS, "s"))
    assert message.startswith("events: 2 of ")
    assert "  0.csv, row 5: uid=missing" in message
    assert "  9.csv, row 7: uid=" in message


def test_a_good_log_passes_both_gates_with_the_same_record():
    rare = log().head(1).assign(uid="rare")  # the first row is not among the clean events
    pd.concat([rare, log()]).to_csv("events.csv", index=False)
    raw = read_interactions(Path("events.csv"), COLUMNS, "s")
    ExpectationGate(CLEAN).validate(ExpectationGate(RAW).validate(raw).cleaned(Cleaning())[0])
    found = outcome("raw_events"), outcome("clean_events")
    log_ = on_duckdb("events.csv")
    assert EngineGate(RAW).validate(log_) is log_
    EngineGate(CLEAN).validate(log_.cleaned(Cleaning())[0])
    assert (outcome("raw_events"), outcome("clean_events")) == found


@pytest.mark.parametrize(
    "lengths", [[8] * 60, [], [300], [8] * 59 + [9]], ids=["equal", "nothing", "one user", "no head"]
)
def test_what_cleaning_leaves_gets_the_same_refusal(lengths):
    events = pd.concat([clean(lengths or [2] * 60).events]).rename(
        columns={"user_id": "uid", "item_id": "sku", "timestamp": "time"}
    )
    events.to_parquet("events.parquet", index=False)
    columns, rules = Columns(user="uid", item="sku", timestamp="time"), Cleaning(min_user_events=3, min_item_events=1)
    expected, _ = read_interactions(Path("events.parquet"), columns, "order").cleaned(rules)
    found, _ = on_duckdb("events.parquet", columns, "order").cleaned(rules)
    assert refusal(EngineGate(CLEAN), found) == refusal(ExpectationGate(CLEAN), expected)


def test_an_event_that_is_there_twice_after_cleaning_is_found():
    log().to_csv("events.csv", index=False)
    good, _ = on_duckdb("events.csv").cleaned(Cleaning())
    users = good.engine.store("twice", [good.ids["user"].mutate(events=2 * good.ids["user"].events)])
    twice = good.engine.store("all_twice", [good.table, good.table])
    bad = CleanTables(good.engine, twice, {**good.ids, "user": users}, good.origin)
    message = refusal(EngineGate(CLEAN), bad)
    assert "no event is there twice" in message
    assert f"{bad.rows:,} of {bad.rows:,} (100 %) rows" in message


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "user_id", "regex": "u"}}, "has no form"),
        (
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "rating", "max_value": 5, "strict_max": True},
            },
            "takes no strict_max",
        ),
    ],
)
def test_a_rule_without_a_form_on_an_engine_is_refused(folder, rule, words):
    suites = json.loads((folder / RAW).read_text())
    suites["events"]["expectations"] = [{**rule, "description": "mine"}]
    (folder / RAW).write_text(json.dumps(suites))
    log().to_csv("events.csv", index=False)
    with pytest.raises(SuiteError, match=words):
        EngineGate(RAW).validate(on_duckdb("events.csv"))
