"""What works on the trials of a study: this process, or several of its own."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from pinet_kedro.errors import InputError
from pinet_kedro.reporting.terminal import guard_terminal
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.tracking.nested import close_nested
from pinet_kedro.tracking.run_info import MlflowRun

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from optuna import Study, Trial

log = logging.getLogger("pinet_kedro")

_LOOK_S = 0.5
_STOP_S = 30.0

# A worker process that is told to stop does so between two epochs: not while it writes to the storage.
_told_to_stop = threading.Event()


def work(plan: Plan, study: "Study", run: MlflowRun | None, since: float, after: Callable[[], None]) -> None:
    """Does trials until none waits, or too many have failed one after the other."""
    import torch

    from pinet_kedro.studies.tuning.queue import claim, failed_in_a_row

    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
    while not _told_to_stop.is_set() and len(failed_in_a_row(study, since)) < plan.config.failures:
        trial = claim(plan, study)
        if trial is None:
            return
        _attempt(plan, study, trial, run)
        after()


def _attempt(plan: Plan, study: "Study", trial: "Trial", run: MlflowRun | None) -> None:
    """Does one trial, and tells the storage and the tracking server what became of it."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    from pinet_kedro.studies.tuning.queue import REASON, put_back
    from pinet_kedro.studies.tuning.tracked import TrackedTrial
    from pinet_kedro.studies.tuning.trial import run_trial

    tracked = TrackedTrial(run, plan, trial)
    parent = os.getppid()

    def on_report(report: Any) -> None:
        tracked.log_epoch(report)
        if _told_to_stop.is_set() or os.getppid() != parent:
            raise SystemExit("told to stop" if _told_to_stop.is_set() else "the command that started it is gone")

    try:
        ndcg = run_trial(study, trial, plan, tracked.start, on_report)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        tracked.end("PRUNED", "FINISHED")
    except (KeyboardInterrupt, SystemExit) as stop:
        put_back(study, trial, "the run was stopped")
        tracked.end("interrupted", "KILLED", str(stop) or type(stop).__name__)
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:1000]
        trial.set_user_attr(REASON, reason)
        study.tell(trial, state=TrialState.FAIL)
        tracked.end("FAIL", "FAILED", reason)
        # Combinations that cannot be trained are part of a study; anything else is a defect of ours.
        if not isinstance(error, ArithmeticError | ValueError | RuntimeError | MemoryError):
            raise
    else:
        study.tell(trial, [ndcg[name] for name in plan.metrics])
        tracked.end("COMPLETE", "FINISHED", values=ndcg)


class Workers:
    """Worker processes on one study; those that die are replaced as long as it makes sense."""

    def __init__(self, plan: Plan, run: MlflowRun | None, since: float) -> None:
        self._arguments = (plan, run, since)
        self._most = plan.config.failures
        self._processes = [self._start() for _ in range(plan.config.workers)]
        self._deaths = 0

    def _start(self) -> "SpawnProcess":
        # Spawned, for a forked torch may hang.
        process = get_context("spawn").Process(target=_main, args=self._arguments, daemon=True)
        process.start()
        return process

    def watch(self, look: Callable[[], None], died: Callable[[], None]) -> None:
        """Returns when all have come to their end. `look` is called now and then, `died` after a death."""
        while self._processes:
            time.sleep(_LOOK_S)
            look()
            for process in [p for p in self._processes if p.exitcode is not None]:
                self._processes.remove(process)
                if process.exitcode:
                    self._deaths += 1
                    log.warning("A worker of the study has died (exit code %s).", process.exitcode)
                    died()
                    if self._deaths >= self._most:
                        raise InputError(
                            f"{self._deaths} workers of the study have died, the last with exit code "
                            f"{process.exitcode} (−9 is what the kernel does when memory runs out). Nothing is lost: "
                            "run the command again, with fewer workers (tuning.workers) or smaller models."
                        )
                    self._processes.append(self._start())
        look()

    def stop(self) -> None:
        """Ends those that are still at work after their epoch, which puts their trials back; or after half a minute,
        which leaves that to the next run."""
        for process in self._processes:
            process.terminate()
        until = time.monotonic() + _STOP_S
        for process in self._processes:
            process.join(max(0.1, until - time.monotonic()))
            if process.is_alive():
                process.kill()


def _main(plan: Plan, run: MlflowRun | None, since: float) -> None:
    signal.signal(signal.SIGTERM, lambda *_: _told_to_stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the command passes it on
    guard_terminal()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for noisy, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(noisy).setLevel(level)
    try:
        work(plan, plan.load(), run, since, lambda: None)
    except SystemExit:
        sys.exit(0)
    finally:
        close_nested()
