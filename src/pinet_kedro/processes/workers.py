"""Worker processes that do not outlive the command, and that are replaced when they die."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from pinet_kedro.processes.stopping import undisturbed


def run_workers(target: Callable[..., None], arguments: tuple[Any, ...], count: int) -> Generator[int | None]:
    """Runs `target` in `count` processes until all have ended well; yields the exit code of each that dies.

    A dead worker is replaced afterwards. When the generator is closed, the remaining workers are killed.
    """

    def start() -> SpawnProcess:
        # Spawned, because a forked torch may hang.
        process = get_context("spawn").Process(target=run_worker, args=(target, arguments), daemon=True)
        with undisturbed():  # without its arguments it would end with a traceback
            process.start()
        return process

    workers = [start() for _ in range(count)]
    try:
        while workers:
            wait([worker.sentinel for worker in workers])
            for worker in [worker for worker in workers if worker.exitcode is not None]:
                workers.remove(worker)
                if worker.exitcode:
                    yield worker.exitcode
                    workers.append(start())
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def run_worker(target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Calls the target in a process that ends with its parent and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the command stops its workers
    command = [parent_process().sentinel]  # type: ignore[union-attr]
    threading.Thread(target=lambda: (wait(command), os._exit(1)), daemon=True).start()  # ends with the command
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("pinet_kedro").setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    target(*arguments)
