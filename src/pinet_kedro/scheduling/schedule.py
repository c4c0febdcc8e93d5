"""`kedro schedule`: a pipeline at the times of a cron expression, every run in a process of its own."""

import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from queue import SimpleQueue

import click

from pinet_kedro.errors import REFUSED_EXIT, InputError
from pinet_kedro.printable import printable
from pinet_kedro.processes.stopping import on_stop
from pinet_kedro.project import parameters_of, project_folder
from pinet_kedro.scheduling.config import Schedule
from pinet_kedro.scheduling.cron import cron_trigger, next_times

log = logging.getLogger(__name__)


def configured(env: str | None) -> Schedule:
    """The schedule of an environment; raises `InputError` where a run of it could not even start."""
    from kedro.framework.project import pipelines

    config = parameters_of("schedule", Schedule, env)
    if config.pipeline not in pipelines:
        raise InputError(f"schedule.pipeline: there is no pipeline '{config.pipeline}'; there are "
                         f"{', '.join(sorted(pipelines))}.")  # fmt: skip
    return config


def show(config: Schedule, env: str | None) -> None:
    """Prints what runs, and when next."""
    click.echo(printable(shlex.join(["kedro", *arguments(config, env)])))
    for moment in next_times(config.cron, config.timezone, 5):
        click.echo(said(moment))


def arguments(config: Schedule, env: str | None) -> list[str]:
    """Those of `kedro` for a run."""
    return ["run", f"--pipeline={config.pipeline}", *([f"--env={env}"] if env else [])]


def run_once(runs: "Runs") -> int:
    """Exit code of one run, now; SIGTERM and Ctrl-C are handed on to it."""
    with on_stop(lambda _: runs.stop()):
        return runs.run()


def run_forever(runs: "Runs") -> None:
    """Runs at the configured times until SIGTERM or Ctrl-C, which stop a run that is going as well.

    A time that comes while a run is going is left out. What a sleeping machine missed is made up for by one run.
    """
    from apscheduler.events import EVENT_JOB_MAX_INSTANCES
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # what it says is said below, in words of this project
    config = runs.config
    scheduler = BackgroundScheduler(timezone=config.timezone)
    scheduler.add_job(
        lambda: _run_and_say_next(runs), cron_trigger(config.cron, config.timezone), max_instances=1, coalesce=True,
        misfire_grace_time=None,
    )  # fmt: skip
    scheduler.add_listener(
        lambda _: log.warning("A run is still going, so this one is left out. %s", _next(config)),
        EVENT_JOB_MAX_INSTANCES,
    )
    signals: SimpleQueue[int] = SimpleQueue()  # its put may interrupt its get, which a lock's may not
    with on_stop(signals.put):
        scheduler.start()
        log.info("The schedule of '%s' begins: '%s' in %s. %s", config.pipeline, config.cron, config.timezone,
                 _next(config))  # fmt: skip
        number = signals.get()
        log.info("%s: the schedule ends.", signal.Signals(number).name)
        scheduler.pause()
        runs.stop()
        scheduler.shutdown(wait=True)


def _run_and_say_next(runs: "Runs") -> None:
    try:
        runs.run()
    except OSError:  # no memory or no file handle for a process now is no reason never to try again
        log.exception("The run could not be started.")
    if not runs.stopping:
        log.info(_next(runs.config))


def _next(config: Schedule) -> str:
    times = next_times(config.cron, config.timezone, 1)
    return f"Next run: {said(times[0])}." if times else "There is no next time."


def said(moment: datetime) -> str:
    """A time with its zone, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M %Z}"


class Runs:
    """Runs of a command in fresh processes, one at a time: a crash or a leak of one ends with it."""

    def __init__(self, config: Schedule, command: list[str]) -> None:
        self.config = config
        self.stopping = False
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._timers: list[threading.Timer] = []

    def run(self) -> int:
        """The run's exit code, 128 + number where a signal ended it; passes its output on, and logs how it ended."""
        start = time.monotonic()
        # A session of its own: Ctrl-C on the terminal reaches this process alone, which hands it on once.
        process = subprocess.Popen(
            self._command, cwd=project_folder(), text=True, encoding="utf-8", errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._process, self._timers = process, []
        log.info("The run of '%s' starts (process %d).", self.config.pipeline, process.pid)
        if self.stopping:  # was said while the process was being made
            self.stop()
        if self.config.time_limit_hours:
            self._after(self.config.time_limit_hours * 3600, self._time_out)
        last: deque[str] = deque(maxlen=self.config.last_lines)
        reader = threading.Thread(target=_pass_on, args=(process, last))
        reader.start()
        code = process.wait()
        for timer in self._timers:
            timer.cancel()
        _kill_group(process)  # workers whose parent was killed hold its output open and would be waited for
        reader.join()
        code = 128 - code if code < 0 else code
        self._report(code, time.monotonic() - start, last)
        return code

    def stop(self) -> None:
        """Asks the run that is going, if any, to end, kills it with its children if it does not, and returns at once.

        The run is not waited for: a training takes hours, and what starts services grants half a minute. An
        interrupted run is recorded as KILLED.
        """
        self.stopping = True
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._after(self.config.stop_seconds, self._kill)

    def _time_out(self) -> None:
        log.error("The run has gone on for %g hours (schedule.time_limit_hours) and is stopped.",
                  self.config.time_limit_hours)  # fmt: skip
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._after(self.config.stop_seconds, self._kill)

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            log.error("The run has not ended within %g s (schedule.stop_seconds) and is killed.",
                      self.config.stop_seconds)  # fmt: skip
            _kill_group(self._process)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _report(self, code: int, seconds: float, last: deque[str]) -> None:
        if code == 0:
            log.info("Run ended well after %.0f s.", seconds)
        elif code == REFUSED_EXIT:
            log.warning("Run ended after %.0f s: the new model is refused, the champion stays.", seconds)
        elif self.stopping:
            log.warning("Run stopped after %.0f s (exit code %d).", seconds, code)
        else:
            lines = "".join(f"\n    {line.rstrip()}" for line in last)
            log.error("Run failed with exit code %d after %.0f s. Its last lines:%s", code, seconds, lines)


def _pass_on(process: "subprocess.Popen[str]", last: deque[str]) -> None:
    for line in process.stdout or ():
        click.echo(line, nl=False)
        last.append(line)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
