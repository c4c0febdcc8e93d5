import json
import subprocess
import sys

from pinet_kedro.processes.identity import is_gone, this_process


def test_a_running_process_is_not_gone():
    assert not is_gone(this_process())


def test_a_process_that_ended_is_gone():
    script = "from pinet_kedro.processes.identity import this_process\nimport json; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert is_gone(json.loads(done.stdout))


def test_a_reused_process_number_does_not_count_as_alive():
    assert is_gone({**this_process(), "started": "1"})


def test_processes_of_other_hosts_are_never_reported_as_gone():
    assert not is_gone({"host": "elsewhere", "pid": "1", "started": "1"})
