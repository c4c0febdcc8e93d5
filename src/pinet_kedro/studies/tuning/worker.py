"""What runs the trials of a study: this process, or several of its own."""

import logging
import os
import signal
import threading
from contextlib import ExitStack
from datetime import datetime
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

import torch
from optuna import Study

from pinet_kedro.errors import InputError
from pinet_kedro.processes.lock import hold
from pinet_kedro.reporting.terminal import guard_terminal
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.queue import failed_in_a_row, has_room
from pinet_kedro.studies.tuning.trial import Objective
from pinet_kedro.tracking.nested import close_nested
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.tracking.runs import end_the_dead

log = logging.getLogger("pinet_kedro")

# Combinations that cannot be trained are part of a study; any other error is a defect of ours.
_EXPECTED = (ArithmeticError, ValueError, RuntimeError, MemoryError)


def work(plan: StudyPlan, study: Study, run: MlflowRun | None, since: datetime) -> None:
    """Runs trials until there are enough, or too many have failed one after the other since a time."""
    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
    while len(failed_in_a_row(study, since)) < plan.config.failures:
        with ExitStack() as claim:  # released when the trial has started: two workers cannot start the last one
            claim.enter_context(hold(f"tuning_{plan.name}", wait_s=60))
            if not has_room(study, plan.config.trials):
                return
            study.optimize(Objective(plan, run, claim.close), 1, catch=_EXPECTED)


def work_together(plan: StudyPlan, run: MlflowRun | None, since: datetime) -> None:
    """Runs trials in worker processes. One that dies is replaced, up to `tuning.failures` times."""

    def start() -> SpawnProcess:
        # Spawned, because a forked torch may hang.
        process = get_context("spawn").Process(target=_main, args=(plan, run, since), daemon=True)
        process.start()
        return process

    workers, deaths = [start() for _ in range(plan.config.workers)], 0
    try:
        while workers:
            wait([worker.sentinel for worker in workers])
            for worker in [worker for worker in workers if worker.exitcode is not None]:
                workers.remove(worker)
                if worker.exitcode:
                    deaths += 1
                    log.warning("A worker of the study has died (exit code %s).", worker.exitcode)
                    end_the_dead(run)
                    if deaths >= plan.config.failures:
                        raise InputError(
                            f"{deaths} workers of the study have died, maybe because memory ran out (exit code −9). "
                            "Run the command again, with fewer workers (tuning.workers) or smaller models."
                        )
                    workers.append(start())
    finally:
        for worker in workers:
            worker.kill()  # the next run tries its trial again
            worker.join()
        end_the_dead(run)


def _main(plan: StudyPlan, run: MlflowRun | None, since: datetime) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the command stops its workers
    command = [parent_process().sentinel]  # type: ignore[union-attr]
    threading.Thread(target=lambda: (wait(command), os._exit(1)), daemon=True).start()  # ends with the command
    guard_terminal()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        work(plan, plan.study(), run, since)
    finally:
        close_nested()
