import signal
import subprocess
import sys

import pytest

from pinet_kedro.processes.stopping import StoppedError, stoppable, undisturbed

STOPS = [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "Ctrl-C")]


@pytest.fixture(autouse=True)
def _handlers():
    """Those of a process in the foreground, also where the tests run behind nohup or `&`, which leave signals ignored.

    A stop leaves its own to the end of the process.
    """
    foreground = [signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL for number, _ in STOPS]
    before = [(number, signal.signal(number, handler)) for (number, _), handler in zip(STOPS, foreground, strict=True)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


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


def outcome(work, same_stop_s=600.0):
    """Exit code and output of a process that does this work as a command."""
    command = (
        "import atexit, signal, time\n"
        "from pinet_kedro.cli.errors import sentences\n"
        "from pinet_kedro.processes import stopping\n"
        f"stopping._SAME_STOP_S = {same_stop_s}\n"
        f"{work}"
    )
    process = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=120, check=False)
    return process.returncode, process.stdout, process.stderr


TWICE = """
def close():
    signal.raise_signal({number})
    print("closed", flush=True)
atexit.register(close)
with sentences():
    try:
        signal.raise_signal({number})
    finally:
        signal.raise_signal({number})
        print("cleaned", flush=True)
"""


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize(("number", "named"), STOPS)
def test_the_same_signal_again_does_not_disturb_the_end(number, named):
    assert outcome(TWICE.format(number=int(number))) == (128 + number, "cleaned\nclosed\n", f"Stopped by {named}.\n")


@pytest.mark.slow  # starts a process
def test_a_signal_long_after_the_first_ends_the_process_at_once():
    work = (
        "atexit.register(lambda: (signal.raise_signal(15), print('closed')))\n"
        "with sentences():\n"
        "    signal.raise_signal(15)\n"
    )
    assert outcome(work, same_stop_s=0.0) == (-signal.SIGTERM, "", "Stopped by SIGTERM.\n")


LOST = """
class Item:
    def __del__(self):
        signal.raise_signal({number})
        print("never", flush=True)
with sentences():
    Item()
    time.sleep(100)
"""


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize(("number", "named"), STOPS)
def test_a_signal_in_a_finalizer_which_drops_errors_still_ends_the_command(number, named):
    assert outcome(LOST.format(number=int(number))) == (128 + number, "", f"Stopped by {named}.\n")


def test_handlers_are_as_before_where_nothing_has_stopped():
    before = [signal.getsignal(each) for each, _ in STOPS], sys.unraisablehook
    with stoppable():
        pass
    assert ([signal.getsignal(each) for each, _ in STOPS], sys.unraisablehook) == before


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
