"""The gates on a table of bad logs: every message names file, column, rule, count, rows and the way out."""

import json
import logging
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging.handlers import BufferingHandler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog
from kedro.validation.exceptions import DataValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Cleaning, Columns, Interactions, Origin, clean_events, read_interactions
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.validation import checks
from pinet_kedro.validation.data_docs import data_docs_index
from pinet_kedro.validation.gate import ExpectationGate, ValidationFailedError

SUITES = Path(__file__).parents[2] / "conf/base/expectations"
RAW, CLEAN = "conf/base/expectations/raw_events.json", "conf/base/expectations/clean_events.json"
COLUMNS = Columns(user="uid", item="sku", timestamp="time", rating="stars")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the suites of the project, in which the command is run."""
    shutil.copytree(SUITES, tmp_path / "conf/base/expectations")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log():
    """A good log of 1,600 events under the user's own column names."""
    events = generate_interactions(SyntheticLog(users=60, items=40, seed=3)).head(1600)
    events["timestamp"] //= 10**9
    return events.rename(columns={"user_id": "uid", "item_id": "sku", "timestamp": "time", "rating": "stars"})


def read(events, columns=COLUMNS, unit="s"):
    events.to_csv("events.csv", index=False)
    return read_interactions(Path("events.csv"), columns, unit)


def changed(column, value, rows=slice(4, 7)):
    events = log().astype(object)
    events.loc[events.index[rows], column] = value
    return events


def refusal(gate, events):
    with pytest.raises(ValidationFailedError) as error:
        gate.validate(events)
    return str(error.value)


@dataclass
class Bad:
    """A bad log and the parts that the message must have."""

    events: pd.DataFrame
    column: str
    rule: str
    found: list[str]
    way_out: str


BAD = {
    "missing column": Bad(
        log().rename(columns={"time": "timer"}), "'time' (timestamp)", "there is a column of times",
        ["missing; the columns are uid, sku, timer, stars"], "timestamp=timer",
    ),
    "missing rating": Bad(
        log().drop(columns="stars"), "'stars' (rating)", "a column of ratings", ["the columns are uid, sku, time"],
        "declare none",
    ),
    "NaN users": Bad(
        changed("uid", None), "'uid' (user_id)", "every event has a user",
        ["3 of 1,600 (0.188 %) rows", "row 5: uid=missing, sku='i", "row 7: "], "fill in uid",
    ),
    "NaN items": Bad(
        changed("sku", None), "'sku' (item_id)", "every event has an item", ["3 of 1,600", "row 5: uid='u"],
        "remove these rows from events.csv",
    ),
    "unreadable times": Bad(
        changed("time", "yesterday"), "'time' (timestamp)", "a time that can be read",
        ["3 of 1,600", "time='yesterday'", "row 6"], "timestamp_unit=date",
    ),
    "future times": Bad(
        changed("time", 5_000_000_000), "'time' (timestamp)", "no event lies in the future",
        ["3 of 1,600", "row 5", "time=5000000000 s (2128-06-11 08:53:20)"], "timestamp_unit=ms",
    ),
    "milliseconds read as seconds": Bad(
        log().assign(time=lambda e: e["time"] * 1000), "'time' (timestamp)", "no event lies in the future",
        ["1,600 of 1,600 (100 %)", "row 1", "time='160"], "timestamp_unit=ms",
    ),
    "positions read as seconds": Bad(
        log().assign(time=range(1600)), "'time' (timestamp)", "no event is older than 1990",
        ["1,600 of 1,600", "time=0 s (1970-01-01 00:00:00)"], "order",
    ),
    "rating out of range": Bad(
        changed("stars", -7), "'stars' (rating)", "ratings lie between 0 and 100", ["3 of 1,600", "stars=-7"],
        "raw_events.json",
    ),
    "rating that is no number": Bad(
        changed("stars", "good"), "'stars' (rating)", "every event has a rating", ["3 of 1,600", "stars=missing"],
        "declare no rating column",
    ),
    "one user": Bad(
        log().assign(uid="u"), "'uid' (user_id)", "there are enough users", ["found 1, expected at least 10"], "user=",
    ),
    "one item": Bad(
        log().assign(sku="i"), "'sku' (item_id)", "there are enough items", ["found 1, expected at least 10"], "item=",
    ),
    "no rows": Bad(log().iloc[:0], "", "there are enough events", ["found 0, expected at least 50"], "longer log"),
    "too many duplicates": Bad(
        pd.concat([log(), log()]), "'uid', 'sku', 'time' (user_id, item_id, timestamp)",
        "at most half of the events are logged more than once", ["3,200 of 3,200 (100 %)", "row 1: uid="],
        "Remove the repetitions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_is_refused_with_all_that_it_takes_to_mend_it(case, folder):
    bad = BAD[case]
    message = refusal(ExpectationGate(RAW), read(bad.events))
    first, *problem, docs = message.splitlines()
    assert first.startswith("events.csv: 1 of ")
    assert docs == f"Data Docs: {folder}/data/08_reporting/data_docs/index.html"
    assert bad.column in problem[0]
    assert bad.rule in problem[0]
    for words in bad.found:
        assert words in "\n".join(problem[1:-1])
    assert problem[-1].startswith("  Way out: ")
    assert bad.way_out in problem[-1]
    assert not re.search(r"\{\w+\}", message)


@pytest.mark.parametrize("case", ["NaN users", "unreadable times", "future times", "one user", "too many duplicates"])
def test_quick_types_change_no_word_of_a_message(case, monkeypatch):
    events = read(BAD[case].events)
    message = refusal(ExpectationGate(RAW), events)
    monkeypatch.setattr(checks, "_in_quick_types", lambda frame, rules: {"rows": (frame, rules)})
    assert refusal(ExpectationGate(RAW), events) == message


def test_a_rule_of_any_other_type_sees_the_values_themselves(folder):
    suites = json.loads((folder / RAW).read_text())
    rule = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "user_id", "regex": "^u0"}}
    suites["events"]["expectations"] = [{**rule, "description": "users begin with u0"}]
    (folder / RAW).write_text(json.dumps(suites))
    ExpectationGate(RAW).validate(read(log()))
    assert "1 of 1 rules" in refusal(ExpectationGate(RAW), read(changed("uid", "x")))


def test_everything_that_is_wrong_is_told_at_once_and_at_bounded_length():
    events = changed("uid", None, slice(0, 900)).drop(columns="time").assign(stars=-1, sku="i" * 5000)
    more = pd.DataFrame(1, index=events.index, columns=[f"more{i}" for i in range(300)])
    message = refusal(ExpectationGate(RAW), read(events.join(more)))
    assert len(re.findall(r"^- ", message, re.MULTILINE)) == 4
    assert "(304 in all)" not in message
    assert "(303 in all)" in message
    assert len(message) < 4000


def test_a_good_log_passes_as_it_came():
    events = read(log())
    passed = ExpectationGate(RAW).validate(events)
    assert passed is events
    assert passed.origin.columns["user_id"] == "uid"
    left, _ = clean_events(events.events, Cleaning())
    clean = Interactions(left, events.origin)
    assert ExpectationGate(CLEAN).validate(clean) is clean


def test_a_log_without_ratings_passes():
    columns = Columns(user="uid", item="sku", timestamp="time")
    ExpectationGate(RAW).validate(read(log().drop(columns="stars"), columns))


def test_a_log_that_gives_only_the_order_passes_without_a_clock():
    events = read(log().assign(time=range(1600)), unit="order")
    ExpectationGate(RAW).validate(events)


def test_data_that_forgot_their_origin_are_checked_all_the_same():
    events = generate_interactions(SyntheticLog(users=60, items=40, seed=3))
    ExpectationGate(RAW).validate(events)
    message = refusal(ExpectationGate(RAW), events.drop(columns="item_id"))
    assert "the data: 1 of" in message
    assert "column 'item_id': there is a column of items" in message


def test_a_column_of_the_wrong_type_is_one_complaint():
    events = log().rename(columns={"uid": "user_id", "sku": "item_id", "time": "timestamp"}).drop(columns="stars")
    message = refusal(ExpectationGate(RAW), events.assign(timestamp="1600000000"))
    assert "1 of " in message
    assert "times are whole nanoseconds since 1970 (UTC)\n  found str, expected int64" in message


def clean(lengths):
    """Clean events of users with these numbers of events, over 40 items."""
    user = np.repeat(np.arange(len(lengths)), lengths)
    names = pd.Series(user).map("u{}".format).astype("string")
    items = pd.Series(np.arange(len(user)) % 40).map("i{}".format).astype("string")
    frame = pd.DataFrame({"user_id": names, "item_id": items, "timestamp": np.arange(len(user))})
    return Interactions(frame, Origin("events.csv", {"user_id": "uid", "item_id": "sku", "timestamp": "time"}))


def twice(data):
    return Interactions(pd.concat([data.events] * 2), data.origin)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (clean([8] * 60), ["'activeness': users differ", "found 1, expected at least 2", "cleaning.min_user_events"]),
        (clean([]), ["enough events are left", "found 0, expected at least 50", "cleaning.min_item_events"]),
        (clean([300]), ["'uid' (user_id): enough users are left", "found 1, expected at least 10"]),
        (clean([8] * 59 + [9]), ["'users': head", "1 of 2 (50 %) strata", "stratum='head', users=1, events=9"]),
        (clean([2, 2, *range(5, 60)]), ["3 events", "2 of 57 (3.51 %) users", "uid='u0', activeness=2"]),
        (twice(clean(range(5, 30))), ["no event is there twice", "850 of 850", "report it"]),
    ],
    ids=["all equally active", "nothing left", "one user left", "no head", "short histories", "duplicates"],
)
def test_what_cleaning_leaves_must_have_a_long_tail(events, words):
    message = refusal(ExpectationGate(CLEAN), events)
    assert message.startswith("events.csv after cleaning: 1 of ")
    assert message.count("Way out: ") == 1
    for word in words:
        assert word in message


def test_data_docs_are_written_for_passes_and_failures_and_need_no_network(folder):
    gate = ExpectationGate(RAW)
    index = data_docs_index()
    page = index.parent / "raw_events" / "index.html"
    for events, outcome in ((read(log()), "passed"), (read(changed("sku", "<script>", slice(0, 1850))), "failed")):
        if outcome == "failed":
            refusal(gate, events)
        else:
            gate.validate(events)
        for html in (index.read_text(), page.read_text()):
            assert f" {outcome}<" in html
            assert "http:" not in html
            assert "https:" not in html
            assert "<script" not in html
        assert "every event has a user" in page.read_text()
        assert "checked on all" in page.read_text()
        for threshold in (
            "at least 50<",
            "at least 1990-01-01, all rows",
            "at least 0 and at most 100, all rows",
            "at least 50 % of the rows",
            f"at most {datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}, all rows",
            ">int64<",
            ">there<",
        ):
            assert threshold in page.read_text(), threshold
        assert json.loads((page.parent / "result.json").read_text())["success"] == (outcome == "passed")
    files = {str(path.relative_to(index.parent)) for path in index.parent.rglob("*") if path.is_file()}
    assert files == {"index.html", "raw_events/index.html", "raw_events/result.json"}


def test_pages_that_cannot_be_written_hide_no_verdict(folder, caplog):
    (folder / "data").write_text("a file where the folder should be")
    ExpectationGate(RAW).validate(read(log()))
    assert "could not be written" in caplog.text
    assert "enough users" in refusal(ExpectationGate(RAW), read(log().assign(uid="u")))


@pytest.mark.parametrize("text", ["", "[]", '{"tables": {}}', '{"events": {"expectations": [{"type": "expect_x"}]}}'])
def test_a_broken_suite_is_named(folder, text):
    (folder / RAW).write_text(text)
    assert RAW in refusal(ExpectationGate(RAW), read(log()))


def test_nothing_is_printed_or_logged(capfd, monkeypatch):
    records = BufferingHandler(10**6)
    monkeypatch.setattr(logging.root, "handlers", [records])
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)
    refusal(ExpectationGate(RAW), read(changed("uid", None)))
    assert capfd.readouterr() == ("", "")
    assert {record.name.split(".")[0] for record in records.buffer} <= {"kedro"}


def test_the_catalog_stops_bad_data_and_passes_good_ones():
    entry = {
        "type": "pinet_kedro.datasets.files.InteractionsDataset",
        "filepath": "events.csv",
        "columns": COLUMNS.model_dump(),
        "timestamp_unit": "s",
        "validator": {
            "class": "pinet_kedro.validation.gate.ExpectationGate",
            "on": "load",
            "options": {"suite": RAW, "data_docs": "docs"},
        },
    }
    read(log())
    assert len(DataCatalog.from_config({"raw": entry}).load("raw").events) == 1600
    read(log().assign(uid="u"))
    with pytest.raises(DataValidationError) as error:
        DataCatalog.from_config({"raw": entry}).load("raw")
    assert isinstance(error.value, InputError)
    assert error.value.dataset_name == "raw"
    assert "Way out" in str(error.value)
    assert str(data_docs_index("docs")) in str(error.value)


def test_data_that_were_stored_without_a_check_do_not_get_the_result_of_others():
    """As with KEDRO_DATASET_VALIDATION=off: the gate of promotion compares the content."""
    gate, result = ExpectationGate(RAW), data_docs_index().parent / "raw_events/result.json"
    for content in ("checked", "checked too"):
        gate.validate(read(log()))
        gate.record(content)
        assert json.loads(result.read_text())["content"] == content
    gate.record("not checked")
    assert json.loads(result.read_text())["content"] == "checked too"
