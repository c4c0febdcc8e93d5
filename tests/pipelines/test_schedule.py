"""`kedro schedule`: real processes, and for the times of a day a schedule that fires every second."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pinet_kedro.scheduling.config import RunSchedule
from pinet_kedro.scheduling.schedule import Runs, run_once
from projects import Command

# `run_forever` as `kedro schedule` calls it, but for the second as the unit of time, and with a command of its own.
DRIVER = """
import logging, sys
from apscheduler.triggers.cron import CronTrigger
from pinet_kedro.scheduling import schedule
from pinet_kedro.scheduling.config import RunSchedule
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
schedule.cron_trigger = lambda expression, timezone: CronTrigger(second="*", timezone=timezone)
runs = schedule.Runs(RunSchedule(pipeline="work", **SETTINGS), [sys.executable, "-c", WORK])
sys.exit(schedule.RUN(runs))
"""


class Scheduler:
    def __init__(self, work, run, **settings):
        text = DRIVER.replace("SETTINGS", repr(settings)).replace("WORK", repr(work)).replace("RUN", run)
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output = ""

    def wait_for(self, words, times=1):
        for line in self.process.stdout:
            self.output += line
            if len(re.findall(words, self.output)) >= times:
                return
        raise AssertionError(self.output)

    def stop(self, number=signal.SIGTERM, within=120):
        start = time.monotonic()
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=within)[0]
        return time.monotonic() - start


@pytest.fixture
def schedule():
    started = []

    def start(work, run="run_forever", **settings):
        started.append(Scheduler(work, run, **settings))
        return started[-1]

    yield start
    for scheduler in started:
        scheduler.process.kill()
        scheduler.process.communicate()


def test_a_failing_run_is_reported_and_the_next_one_comes(schedule):
    scheduler = schedule("print('first'); print('the reason'); raise SystemExit(7)", last_lines=1)
    scheduler.wait_for("exit code 7", times=2)
    scheduler.stop()
    assert scheduler.process.returncode == 0
    assert re.search(r"exit code 7 after 0 s\. Its last lines:\n    the reason\n", scheduler.output)
    assert len(re.findall("Next run: ", scheduler.output)) >= 2


def test_a_run_that_dies_by_a_signal_is_reported_and_the_next_one_comes(schedule):
    scheduler = schedule("import os; os.kill(os.getpid(), 9)")
    scheduler.wait_for("exit code 137", times=2)


def test_no_run_starts_while_one_is_going(schedule, tmp_path):
    scheduler = schedule(f"""
import os, pathlib, time
busy = pathlib.Path({str(tmp_path)!r}, "busy")
busy.touch(exist_ok=False)
time.sleep(2.2)
busy.unlink()
""")
    scheduler.wait_for("succeeded", times=2)
    assert "left out" in scheduler.output
    assert "FileExistsError" not in scheduler.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_schedule_stops_its_run_and_ends_well(schedule, tmp_path, number):
    scheduler = schedule(f"""
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path({str(tmp_path)!r}, "stopped").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("at work", flush=True)
time.sleep(600)
""")
    scheduler.wait_for("at work")
    assert scheduler.stop(number) < 100
    assert scheduler.process.returncode == 0
    assert (tmp_path / "stopped").exists()
    assert "Run stopped" in scheduler.output


def test_a_run_that_does_not_listen_is_killed_with_its_children(schedule, tmp_path):
    scheduler = schedule(
        f"""
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(tmp_path)!r}, "child").write_text(str(child.pid))
print("at work", flush=True)
time.sleep(600)
""",
        stop_seconds=1,
    )
    scheduler.wait_for("at work")
    assert scheduler.stop() < 100
    assert "is killed" in scheduler.output
    child = int((tmp_path / "child").read_text())
    assert is_dead(child)


def is_dead(pid):
    """Killed; whoever inherits it may not have buried it yet."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.1)
    return False


def test_a_run_over_its_time_limit_is_stopped_and_the_next_one_comes(schedule):
    scheduler = schedule("import time; time.sleep(600)", time_limit_hours=1 / 3600)
    scheduler.wait_for("exit code 143", times=2)


def test_a_refusal_is_no_failure(schedule):
    scheduler = schedule("raise SystemExit(3)")
    scheduler.wait_for("refused")
    assert "failed" not in scheduler.output


def configure(project, **settings):
    path = project.folder / "conf/test/parameters.yml"
    path.write_text(path.read_text() + json.dumps({"schedule": settings})[1:-1] + "\n")


def test_once_ends_with_the_exit_code_of_the_run(project):
    configure(project, pipeline="evaluation")  # of nothing: the run is refused
    said = project.folder / "command.log"
    assert Command(project.folder, ("schedule", "--env=test", "--once"), said).wait(300) == 1
    last_lines = said.read_text().partition("Its last lines:")[2]
    assert "kedro run --pipeline=data_validation --env=test" in " ".join(last_lines.split())


def test_once_ends_well_when_the_run_does(capfd):
    work = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert run_once(Runs(RunSchedule(), [sys.executable, "-c", work])) == 0
    assert capfd.readouterr().out.split() == ["out", "err"]


def test_once_hands_on_a_signal(schedule):
    scheduler = schedule("import time; print('at work', flush=True); time.sleep(600)", run="run_once")
    scheduler.wait_for("at work")
    assert scheduler.stop() < 100
    assert scheduler.process.returncode == 143


def test_dry_run_says_what_runs_and_when(project):
    configure(project, pipeline="data_validation", cron="30 4 * * 0", timezone="Europe/Berlin")
    done = project.invoke("schedule", "--env=test", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "kedro run --pipeline=data_validation --env=test"
    assert len(lines) == 6
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d 04:30 CES?T", line) for line in lines[1:])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"pipeline": "ful"}, "'ful'"), ({"cron": "0 25 * * *"}, "25"), ({"timezone": "Mars"}, "Mars")],
)
def test_a_wrong_schedule_is_one_sentence(project, settings, words, monkeypatch):
    monkeypatch.setattr("pinet_kedro.scheduling.schedule.run_forever", pytest.fail)
    configure(project, **{"pipeline": "full", **settings})
    done = project.invoke("schedule", "--env=test")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit), done.exception
    assert words in done.output
    assert "Traceback" not in done.output
