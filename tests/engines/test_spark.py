"""Spark gives what pandas gives. `make test-spark` runs these tests in one session; they need Java."""

import json
import re
import shutil
from pathlib import Path

import pytest
from test_engines import COLUMNS, assert_equal, core_log, stored

from pinet_kedro.engines.engine import open_engine
from pinet_kedro.engines.gate import EngineGate
from pinet_kedro.engines.logs import RawTables
from pinet_kedro.engines.staging import stage
from pinet_kedro.interactions.events import Cleaning, read_interactions
from pinet_kedro.validation.gate import ExpectationGate, ValidationFailedError

pytestmark = [pytest.mark.spark, pytest.mark.slow]
SUITES = Path(__file__).parents[2] / "conf/base/expectations"


def test_several_files_with_ties_are_prepared_as_by_pandas_and_pass_the_same_gates(spark, tmp_path, monkeypatch):
    shutil.copytree(SUITES, tmp_path / "conf/base/expectations")
    monkeypatch.chdir(tmp_path)
    source = core_log(tmp_path)
    cleaning = Cleaning(rating_threshold=2, min_user_events=6, min_item_events=6)
    in_memory = read_interactions(source, COLUMNS, "order")
    assert len(in_memory.origin.parts) == 4
    assert in_memory.events.duplicated(["user_id", "timestamp"]).any()
    expected, report = in_memory.cleaned(cleaning)
    engine = open_engine(spark, tmp_path / "engine")
    raw = RawTables(engine, stage(source, COLUMNS, "order", tmp_path / "engine/staged"))
    EngineGate("conf/base/expectations/raw_events.json").validate(raw)
    clean, dropped = raw.cleaned(cleaning)
    assert dropped.equals(report)
    messages, closed = refusals(expected, clean, monkeypatch)
    assert messages[0] == messages[1]
    assert "rows" in messages[0]
    assert closed == [engine]  # nothing of a log that is refused stays
    assert_equal(stored(clean, tmp_path).indexed(), expected.indexed())
    assert not (tmp_path / "engine").exists()


def refusals(expected, clean, monkeypatch):
    """What both gates say of ties, of which the first rows are named; and what the second gate has closed."""
    gate = "conf/base/expectations/clean_events.json"
    suites = json.loads(Path(gate).read_text())
    for rule in suites["events"]["expectations"]:
        if rule["type"] == "expect_compound_columns_to_be_unique":
            rule["kwargs"]["column_list"] = ["user_id", "timestamp"]
    Path(gate).write_text(json.dumps(suites))
    messages, closed = [], []
    with monkeypatch.context() as patch:
        patch.setattr(type(clean.engine), "close", lambda engine: closed.append(engine))
        for kind, data in ((ExpectationGate, expected), (EngineGate, clean)):
            with pytest.raises(ValidationFailedError) as error:
                kind(gate).validate(data)
            messages.append(str(error.value))
    # A clean log in an engine has no ratings to show.
    return [re.sub(r", rating=\S+", "", message) for message in messages], closed
