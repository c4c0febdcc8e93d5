"""What names hold does not reach the terminal as commands, on any way there."""

import logging
import os
import subprocess
import sys
from datetime import datetime

import pytest

from pinet_kedro.explanation import ExplainedItem, Explanation
from pinet_kedro.inspection import tables
from pinet_kedro.inspection.tables import show_recommendations
from pinet_kedro.inspection.titles import Titles
from pinet_kedro.printable import one_line, printable
from pinet_kedro.processes.terminal import PrintableRecord
from pinet_kedro.promotion import console
from pinet_kedro.promotion.console import show_decision, show_versions
from pinet_kedro.promotion.decision import Decision, Gate

# Erase the line, ring, go back, a control character of one byte, reverse what follows, hide nothing, half a character.
COMMANDS = "\x1b[2K\x07\r\x08\x9b31m\u202e\u200b\udc80"
SHOWN = r"\x1b[2K\x07\r\x08\x9b31m\u202e\u200b\udc80"
NAME = f"[red]name[/red]{COMMANDS}"
NAME_SHOWN = f"[red]name[/red]{SHOWN}"


def assert_only_text(text):
    assert not [character for character in text if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (COMMANDS, SHOWN),
        ("two\nlines\tof 35 %", "two\nlines\tof 35 %"),
        ("naïve 東京 🙂 −1,5 %", "naïve 東京 🙂 −1,5 %"),
        ("a\N{NO-BREAK SPACE}b", "a\N{NO-BREAK SPACE}b"),
        ("\u2028\x85\x00\x7f", r"\u2028\x85\x00\x7f"),
        ("", ""),
    ],
)
def test_printable_text_stays_and_all_else_becomes_visible(text, shown):
    assert printable(text) == shown


def test_a_name_cannot_pretend_to_be_a_line_of_a_message():
    assert one_line("a.csv\nError: none\t") == r"a.csv\nError: none\t"


def test_a_record_is_printable_with_its_arguments_and_its_traceback():
    try:
        raise ValueError(NAME)
    except ValueError:
        record = PrintableRecord("name", logging.ERROR, "file", 1, "of %s\n%s", (NAME, NAME), sys.exc_info())
    text = logging.Formatter().format(record)
    assert_only_text(text)
    assert f"of {NAME_SHOWN}\n{NAME_SHOWN}" in text
    assert f"ValueError: {NAME_SHOWN}" in text


@pytest.mark.slow
def test_a_process_of_the_project_logs_and_fails_in_text():
    script = f"""
import logging, pinet_kedro.settings
logging.getLogger("any.library").warning("of %s", {NAME!r})
raise ValueError({NAME!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert_only_text(done.stderr)
    assert f"WARNING of {NAME_SHOWN}" in done.stderr
    assert f"ValueError: {NAME_SHOWN}" in done.stderr


def test_the_tables_show_names_as_they_are_written(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    gate = Gate(name=NAME, passed=False, measured=NAME, asked=NAME)
    show_decision(
        Decision(
            promoted=False, model=NAME, version=NAME, against=NAME, champion_before=NAME, gates=(gate,), date="",
            reasons=(NAME,), notes=(NAME,),
        )
    )  # fmt: skip
    tags = {"decision": NAME, "decision.against": NAME}
    show_versions(NAME, [{"version": NAME, "created": datetime(2026, 1, 1), "aliases": [NAME], **tags}])
    text = capsys.readouterr().out
    assert_only_text(text)
    # A table breaks long cells; the sentences stay whole.
    assert f"Refused: {NAME_SHOWN} version" in text
    assert text.count("[red]") >= 10


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_a_character_gets_its_number(encoding):
    """The command has done its work; it must not end with an error because of a minus sign."""
    script = "import pinet_kedro.settings; print('gain \u2212 2.6')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"gain \\u2212 2.6\n")


def test_in_80_columns_no_value_of_a_table_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console, "_LOG_WIDTH", 80)
    monkeypatch.setattr(tables, "_LOG_WIDTH", 80)
    names = ("backbone", "memory", "factors", "popularity", "recency", "categories")
    parts = dict(zip(names, (-0.02, 9.93, -1.03, -1.39, -0.06, 1.25), strict=True))
    explained = (ExplainedItem("i0000011", sum(parts.values()), parts, ("i0000007", 0.94)),)
    show_recommendations(Explanation(explained, parts, "tail"), Titles(), "User u1", ["i0000007"], explain=True)
    tags = {
        "data.sha256": "341b596a",
        "data.users": "123456",
        "seed": "1",
        "all.ndcg_at_10": "0.4737",
        "backbone": "din",
    }
    tags |= {
        "gain_over_champion": "+577.3 % [+347.9, +1038.6] over version 1",
        "decision": "refused 2026-12-01 against 1",
    }
    show_versions("pinet", [{"version": "12", "created": datetime(2026, 12, 1), "aliases": ["challenger"], **tags}])
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "2026-12-01" in text
    for value in ("-0.02", "9.93", "-1.03", "-1.39", "-0.06", "1.25"):
        assert text.count(value) == 2
