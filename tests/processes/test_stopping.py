import signal
import subprocess
import sys

import pytest

from pinet_kedro.processes.stopping import StoppedError, stoppable, undisturbed

STOPS = [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "Ctrl-C")]


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize(("number", "named"), STOPS)
def test_a_command_that_is_stopped_says_so_and_has_the_exit_code_of_a_shell(number, named):
    command = (
        "import atexit, signal, click\n"
        "from pinet_kedro.cli.errors import sentences\n"
        "@click.command()\n"
        "def wait():\n"
        "    atexit.register(print, 'closed')\n"  # as the lock and the MLflow run are
        "    with sentences():\n"
        "        print('at work', flush=True)\n"
        "        signal.pause()\n"
        "wait()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors) == (128 + number, "closed\n", f"Stopped by {named}.\n")


@pytest.mark.parametrize(("number", "named"), STOPS)
def test_handlers_are_as_before_after_a_stop(number, named):
    before = [signal.getsignal(each) for each, _ in STOPS]
    with pytest.raises(StoppedError) as stopped, stoppable():
        signal.raise_signal(number)
    assert (stopped.value.code, stopped.value.by) == (128 + number, named)
    assert [signal.getsignal(each) for each, _ in STOPS] == before


@pytest.mark.parametrize(("number", "named"), STOPS)
def test_a_signal_waits_for_the_end_of_what_must_not_be_disturbed(number, named):
    steps = []

    def write():
        with stoppable(), undisturbed():
            signal.raise_signal(number)
            steps.append("written")

    with pytest.raises(StoppedError) as stopped:
        write()
    assert (steps, stopped.value.by) == (["written"], named)


def test_a_command_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(), undisturbed():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
