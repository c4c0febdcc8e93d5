"""`kedro schedule`: runs a pipeline at the times of a cron expression, each run in its own process."""

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
from pinet_kedro.scheduling.config import RunSchedule
from pinet_kedro.scheduling.cron import cron_trigger, next_times

log = logging.getLogger(__name__)


def load_schedule(env: str | None) -> RunSchedule:
    """The schedule of an environment; raises `InputError` if its pipeline does not exist."""
    from kedro.framework.project import pipelines

    config = parameters_of("schedule", RunSchedule, env)
    if config.pipeline not in pipelines:
        raise InputError(f"schedule.pipeline: there is no pipeline '{config.pipeline}'; there are "
                         f"{', '.join(sorted(pipelines))}.")  # fmt: skip
    return config


def show(config: RunSchedule, env: str | None) -> None:
    """Prints the command and the next five times."""
    click.echo(printable(shlex.join(["kedro", *run_arguments(config, env)])))
    for moment in next_times(config.cron, config.timezone, 5):
        click.echo(_time(moment))


def run_arguments(config: RunSchedule, env: str | None) -> list[str]:
    """The arguments of `kedro` for one run."""
    return ["run", f"--pipeline={config.pipeline}", *([f"--env={env}"] if env else [])]


def run_once(runs: "Runs") -> int:
    """Starts one run now and returns its exit code; passes SIGTERM and Ctrl-C on to it."""
    with on_stop(lambda _: runs.stop()):
        return runs.run()


def run_forever(runs: "Runs") -> None:
    """Runs at the configured times until SIGTERM or Ctrl-C, which also stop an active run.

    A time that comes during a run is skipped. If the machine was asleep, one run makes up for all the times it missed.
    """
    from apscheduler.events import EVENT_JOB_MAX_INSTANCES
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # the messages below replace its own
    config = runs.config
    scheduler = BackgroundScheduler(timezone=config.timezone)
    scheduler.add_job(
        lambda: _run_and_log_next(runs), cron_trigger(config.cron, config.timezone), max_instances=1, coalesce=True,
        misfire_grace_time=None,
    )  # fmt: skip
    scheduler.add_listener(
        lambda _: log.warning("A run is still active, so this one is left out. %s", _next(config)),
        EVENT_JOB_MAX_INSTANCES,
    )
    signals: SimpleQueue[int] = SimpleQueue()  # a signal handler may call put during get; with a lock it could not
    with on_stop(signals.put):
        scheduler.start()
        log.info("The schedule of '%s' starts: '%s' in %s. %s", config.pipeline, config.cron, config.timezone,
                 _next(config))  # fmt: skip
        number = signals.get()
        log.info("%s: the schedule ends.", signal.Signals(number).name)
        scheduler.pause()
        runs.stop()
        scheduler.shutdown(wait=True)


def _run_and_log_next(runs: "Runs") -> None:
    try:
        runs.run()
    except OSError:  # no memory or file handle now; the next time may work
        log.exception("The run could not be started.")
    if not runs.stopping:
        log.info(_next(runs.config))


def _next(config: RunSchedule) -> str:
    times = next_times(config.cron, config.timezone, 1)
    return f"Next run: {_time(times[0])}." if times else "There is no next time."


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}"


class Runs:
    """Runs a command in fresh processes, one at a time, so that a crash or a leak ends with its run."""

    def __init__(self, config: RunSchedule, command: list[str]) -> None:
        self.config = config
        self.stopping = False
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._timers: list[threading.Timer] = []

    def run(self) -> int:
        """Exit code of one run, 128 + number after a signal; passes on its output and logs how it ended."""
        start = time.monotonic()
        # In a new session, Ctrl-C on the terminal reaches this process only, which passes it on once.
        process = subprocess.Popen(
            self._command, cwd=project_folder(), text=True, encoding="utf-8", errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._process, self._timers = process, []
        log.info("The run of '%s' starts (process %d).", self.config.pipeline, process.pid)
        if self.stopping:  # stop() was called while the process was starting
            self.stop()
        if self.config.time_limit_hours:
            self._after(self.config.time_limit_hours * 3600, self._time_out)
        last: deque[str] = deque(maxlen=self.config.last_lines)
        reader = threading.Thread(target=_pass_on, args=(process, last))
        reader.start()
        code = process.wait()
        for timer in self._timers:
            timer.cancel()
        _kill_group(process)  # workers of a killed run would keep its output open, and the reader would wait
        reader.join()
        code = 128 - code if code < 0 else code
        self._report(code, time.monotonic() - start, last)
        return code

    def stop(self) -> None:
        """Asks the active run, if any, to stop and returns at once; a timer kills it and its children if it does not.

        It does not wait for the end of the run: training takes hours, service managers grant half a minute. MLflow
        records an interrupted run as KILLED.
        """
        self.stopping = True
        self._ask_to_stop()

    def _time_out(self) -> None:
        log.error("The run exceeds %g hours (schedule.time_limit_hours) and is stopped.",
                  self.config.time_limit_hours)  # fmt: skip
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._after(self.config.stop_seconds, self._kill)

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            log.error("The run did not stop within %g s (schedule.stop_seconds) and is killed.",
                      self.config.stop_seconds)  # fmt: skip
            _kill_group(self._process)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _report(self, code: int, seconds: float, last: deque[str]) -> None:
        if code == 0:
            log.info("Run succeeded after %.0f s.", seconds)
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
