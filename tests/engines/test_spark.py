"""Spark gives what pandas gives. Needs pyspark and Java: pip install 'pinet-kedro[spark]'."""

import os
import shutil
from pathlib import Path

import pytest
from test_engines import COLUMNS, assert_equal, core_log, stored

from pinet_kedro.engines.engine import EngineConfig, open_engine
from pinet_kedro.engines.gate import EngineGate
from pinet_kedro.engines.logs import RawLog
from pinet_kedro.engines.staging import stage
from pinet_kedro.interactions.events import Cleaning, read_interactions
from pinet_kedro.validation.gate import ExpectationGate, ValidationFailedError

pytest.importorskip("pyspark")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="Java is not installed"),
]
SUITES = Path(__file__).parents[2] / "conf/base/expectations"


def test_spark_gives_what_pandas_gives(tmp_path, monkeypatch):
    shutil.copytree(SUITES, tmp_path / "conf/base/expectations")
    monkeypatch.chdir(tmp_path)
    source = core_log(tmp_path)
    cleaning = Cleaning(rating_threshold=2, min_user_events=6, min_item_events=6)
    expected, report = read_interactions(source, COLUMNS, "order").cleaned(cleaning)
    config = EngineConfig(name="spark", master="local[2]", memory="1GB", partitions=3)
    engine = open_engine(config, tmp_path / "engine")
    raw = RawLog(engine, stage(source, COLUMNS, "order", tmp_path / "engine/staged"))
    EngineGate("conf/base/expectations/raw_events.json").validate(raw)
    clean, dropped = raw.cleaned(cleaning)
    assert dropped.equals(report)
    messages = []
    for gate, data in ((ExpectationGate, expected), (EngineGate, clean)):
        suite = tmp_path / "conf/base/expectations/clean_events.json"
        suite.write_text(suite.read_text().replace('"min_value": 50', '"min_value": 1000000'))
        with pytest.raises(ValidationFailedError) as error:
            gate("conf/base/expectations/clean_events.json").validate(data)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert_equal(stored(clean, tmp_path).indexed(), expected.indexed())
