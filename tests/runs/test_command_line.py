"""Commands in messages: Kedro reads of them what the run had."""

import shlex

import pytest
from kedro.framework.cli.utils import _split_params

from pinet_kedro.runs.command_line import run_command
from pinet_kedro.runs.lineage import _differences

VALUES = {
    "null": None, "a text": "null", "digits": "0", "a flag": True, "a number": 1e-5, "a format": "%d/%m/%Y %H:%M:%S",
    "a long path": "/" + "a folder/" * 20 + "events.csv",
}  # fmt: skip


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_kedro_reads_the_value_that_was_given(value):
    words = shlex.split(run_command(["full"], "csv", {"section": {"setting": value}}))
    assert words[:4] == ["kedro", "run", "--pipeline=full", "--env=csv"]
    read = _split_params(None, None, words[4].removeprefix("--params="))
    assert read == {"section": {"setting": value}}
    assert type(read["section"]["setting"]) is type(value)


def test_a_column_may_be_called_like_a_setting_of_the_machine():
    was, now = {"columns": {"uid": "user_id", "device": "rating"}}, {"columns": {"uid": "user_id"}}
    assert _differences(was, now) == []
    assert _differences(was, now, ignored=set()) == ["columns.device = rating (this run: not set)"]
