"""One process at a time; a killed process does not block the next."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from pinet_kedro.errors import InputError
from pinet_kedro.processes.lock import LockedError, hold

HOLDER = """
import sys, time
from pinet_kedro.processes.lock import hold
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


def test_the_error_of_a_second_process_names_the_holder_and_its_start(holder):
    message = rf"The lock 'work' is held by process {holder.pid} on .*since 20\d\d-.*Wait for it to end"
    with pytest.raises(LockedError, match=message), hold("work"):
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


def test_waiting_ends_when_the_holder_ends(holder):
    holder.terminate()
    with hold("work", wait_s=10):
        pass


def test_locks_of_different_names_are_independent(holder):
    with hold("other"):
        pass


def test_an_error_inside_releases_the_lock():
    with contextlib.suppress(ZeroDivisionError), hold("work"):
        raise ZeroDivisionError
    with hold("work"):
        pass


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"[1, 2]", b"{}", b'{"pid": 1}', b"[" * 10_000, b"x" * 10_000_000, b"null", b'"held"'],
    ids=lambda content: repr(content[:12]),
)
def test_strange_content_neither_blocks_nor_breaks(here, caplog, content):
    path = here / "data/locks/work.lock"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with hold("work"):
        assert f'"pid": {os.getpid()}' in path.read_text()
        path.write_bytes(content)  # content of another program
        with pytest.raises(LockedError, match="held by another process"), hold("work"):
            pass
    assert "was left by" not in caplog.text


def test_a_holder_cannot_write_to_the_terminal(here):
    path = here / "data/locks/work.lock"
    with hold("work"):
        path.write_text('{"pid": 1, "host": "\\u001b[2J", "command": ["x"], "since": null}')
        with pytest.raises(LockedError) as error, hold("work"):
            pass
    assert str(error.value).isprintable()


def test_a_lock_that_cannot_be_opened_is_reported_in_a_sentence(here):
    (here / "data").mkdir()
    (here / "data/locks").write_text("")
    with (
        pytest.raises(InputError, match=r"The lock .*work\.lock.* cannot be opened: .*remove what is in its place"),
        hold("work"),
    ):
        pass


def test_a_forked_child_does_not_keep_its_parents_lock():
    child = """
import os, sys, time
from pinet_kedro.processes.lock import hold
with hold("work"):
    if os.fork() == 0:
        print("forked", flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True) as parent:
        try:
            assert parent.stdout.readline() == b"forked\n"
            with pytest.raises(LockedError), hold("work"):
                pass
            parent.kill()
            os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)  # its group lives on
            with hold("work"):
                pass
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
