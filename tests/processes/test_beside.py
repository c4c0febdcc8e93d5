import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from pinet_kedro.processes.beside import EndedError, beside
from pinet_kedro.processes.stopping import StoppedError, stoppable

pytestmark = pytest.mark.slow  # starts processes


def counted(up_to, send):
    for number in range(up_to):
        send(number)
    return os.getpid()


def diverged(send):
    from pinet_kedro.training.backbone import DivergedError  # late: every process here imports this file, and not torch

    send("before")
    raise DivergedError("too fast", best="the best so far")


def ended(send):
    os._exit(3)


def unpicklable(send):
    class LocalError(Exception):
        pass

    raise LocalError("of this function alone")


def sleeping(send):
    send(os.getpid())
    time.sleep(600)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


def test_messages_come_in_order_and_then_the_result():
    with beside(counted, 3) as other:
        assert list(other.messages(wait=True)) == [0, 1, 2]
        assert other.result() != os.getpid()
        assert list(other.messages()) == []


def test_an_error_is_raised_here_with_all_it_carries():
    from pinet_kedro.training.backbone import DivergedError

    with beside(diverged) as other, pytest.raises(DivergedError, match="too fast") as error:
        other.result()
    assert error.value.best == "the best so far"


def test_an_error_that_cannot_be_sent_is_told():
    with beside(unpicklable) as other, pytest.raises(RuntimeError, match="LocalError: of this function alone"):
        other.result()


def test_a_process_that_dies_is_an_error_and_not_a_wait():
    with beside(ended) as other, pytest.raises(EndedError, match="exit code 3"):
        other.result()


def test_the_process_ends_with_the_block():
    with beside(sleeping) as other:
        pid = next(other.messages(wait=True))
    assert not alive(pid)


def test_the_process_ends_with_a_command_that_is_killed(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(
        "import sys\n"
        "from pinet_kedro.processes.beside import beside\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_beside import sleeping\n"
        "if __name__ == '__main__':\n"
        "    with beside(sleeping) as other:\n"
        "        print(next(other.messages(wait=True)), flush=True)\n"
        "        other.result()\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as command:
        pid = int(command.stdout.readline())
        command.kill()
    deadline = time.monotonic() + 120
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.fixture
def stopping():
    """SIGTERM raises `StoppedError`, as it ends a run."""
    with stoppable():
        yield


def test_a_signal_while_the_process_starts_takes_effect_after_it(stopping, monkeypatch):
    """Otherwise the new process is without its arguments, and ends with a traceback."""
    started, start = [], SpawnProcess.start

    def start_and_be_told_to_end(process):
        signal.raise_signal(signal.SIGTERM)
        start(process)
        started.append(process)

    monkeypatch.setattr(SpawnProcess, "start", start_and_be_told_to_end)
    with pytest.raises(StoppedError), beside(sleeping):
        pytest.fail("the block is not entered")
    [process] = started
    assert process.exitcode == -signal.SIGKILL


def test_a_signal_after_the_start_takes_effect_at_once(stopping):
    with pytest.raises(StoppedError), beside(sleeping):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_dies_before_it_has_read_its_arguments_is_an_error_and_not_a_wait(monkeypatch, number):
    start = SpawnProcess.start

    def start_and_die(process):
        start(process)
        os.kill(process.pid, number)

    monkeypatch.setattr(SpawnProcess, "start", start_and_die)
    with pytest.raises(EndedError, match=f"exit code -{number:d}"), beside(counted, bytes(10_000_000)) as other:
        other.result()


def test_a_signal_while_the_arguments_are_sent_takes_effect_at_once(stopping):
    class Argument:
        def __reduce__(self):
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the signal comes later")

    with pytest.raises(StoppedError), beside(counted, bytes(10_000_000), Argument()):
        pytest.fail("the block is not entered")
    assert not multiprocessing.active_children()


def test_ctrl_c_while_processes_start_reaches_the_command_alone(capfd):
    """The whole group gets it: a process that starts would print a traceback."""
    with beside(counted, 1) as other:
        os.kill(other._process.pid, signal.SIGINT)
        assert list(other.messages(wait=True)) == [0]
    assert "Traceback" not in capfd.readouterr().err
