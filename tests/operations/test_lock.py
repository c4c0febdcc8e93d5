"""One process at a time; a process that was killed blocks nobody."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.operations.lock import LockedError, hold

HOLDER = """
import sys, time
from pinet_kedro.operations.lock import hold
with hold("work"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def holder(here):
    with subprocess.Popen([sys.executable, "-c", HOLDER, "nightly"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_holds_it_and_since_when(holder):
    said = rf"'work' is at work already, by process {holder.pid} on .*since 20\d\d-"
    with pytest.raises(LockedError, match=said), hold("work"):
        pass
    assert issubclass(LockedError, InputError)


def test_a_killed_holder_is_recognised_and_does_not_block(holder, caplog):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with caplog.at_level("WARNING"), hold("work"):
        pass
    assert f"was left by process {holder.pid}" in caplog.text
    caplog.clear()
    with hold("work"):
        pass
    assert caplog.text == ""


def test_waiting_outlasts_a_holder_that_ends(holder):
    holder.terminate()
    with hold("work", wait_s=10):
        pass


def test_locks_of_different_names_do_not_meet(holder):
    with hold("other"):
        pass


def test_an_error_inside_releases_the_lock():
    with contextlib.suppress(ZeroDivisionError), hold("work"):
        raise ZeroDivisionError
    with hold("work"):
        pass
