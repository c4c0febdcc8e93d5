"""What names hold does not reach the terminal as commands, on any way there."""

import logging
import subprocess
import sys
from datetime import datetime

import pytest

from pinet_kedro.printable import one_line, printable
from pinet_kedro.processes.terminal import PrintableRecord
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
