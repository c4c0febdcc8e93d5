"""Worker processes that do not outlive the command, and that are replaced when they die."""

import logging
import os
import pickle
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from pinet_kedro.processes.stopping import ignore_interrupts, interrupts_left_to_the_command, undisturbed


def run_workers(target: Callable[..., None], arguments: tuple[Any, ...], count: int) -> Generator[int | None]:
    """Runs `target` in `count` processes until all have ended well; yields the exit code of each that dies.

    A dead worker is replaced afterwards. When the generator is closed, the remaining workers are killed.
    """
    workers: list[SpawnProcess] = []
    try:
        workers.extend(start_worker(target, arguments) for _ in range(count))
        while workers:
            wait([worker.sentinel for worker in workers])
            for worker in [worker for worker in workers if worker.exitcode is not None]:
                workers.remove(worker)
                if worker.exitcode:
                    yield worker.exitcode
                    workers.append(start_worker(target, arguments))
    finally:
        for worker in workers:
            end_worker(worker)


def start_worker(target: Callable[..., Any], arguments: tuple[Any, ...], *ends: Connection) -> SpawnProcess:
    """A process that calls `target(*arguments, *ends)`, ends with this one, and leaves Ctrl-C to it.

    The arguments follow the start in a pipe of their own. `Process.start` writes them to a pipe whose reading end it
    holds itself, so with more than the pipe takes (64 KiB) it waits for ever if the new process has died by then.
    Now that is a process that has died, which whoever waits for it finds.
    """
    context = get_context("spawn")  # a forked torch may hang
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(receiver, *ends), daemon=True)
    with sender:
        try:
            # A process that is stopped while it starts would print a traceback.
            with receiver, undisturbed(), interrupts_left_to_the_command():
                process.start()
            with suppress(BrokenPipeError), open(sender.fileno(), "wb", closefd=False) as file:
                pickle.dump((target, arguments), file, pickle.HIGHEST_PROTOCOL)
        except BaseException:
            end_worker(process)
            raise
    return process


def end_worker(process: SpawnProcess) -> None:
    """Kills the process if it runs."""
    if process.pid is not None:
        process.kill()
        process.join()


def _run(receiver: Connection, *ends: Connection) -> None:
    ignore_interrupts()
    command = [parent_process().sentinel]  # type: ignore[union-attr]
    threading.Thread(target=lambda: (wait(command), os._exit(1)), daemon=True).start()  # ends with the command
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("pinet_kedro").setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        with receiver, open(receiver.fileno(), "rb", closefd=False) as file:
            target, arguments = pickle.load(file)
    except (EOFError, pickle.UnpicklingError):  # the command has ended
        os._exit(1)
    target(*arguments, *ends)
