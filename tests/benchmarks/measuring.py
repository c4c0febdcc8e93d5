"""What a benchmark measures with: figures that keep every repetition, and processes of their own."""

import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured quantity: all of its repetitions, and what it was measured at (`{"items": 100_000}`)."""

    name: str
    unit: str
    values: list[float]
    at: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The figure as JSON: median, smallest and largest, and the values themselves."""
        low, high = min(self.values), max(self.values)
        spread = {"median": statistics.median(self.values), "low": low, "high": high, "values": self.values}
        return {"name": self.name, "at": self.at, "unit": self.unit, **spread}


@dataclass(frozen=True)
class Spent:
    """What a call in a process of its own returned and cost; `peak` is the process's largest resident memory, bytes,
    the interpreter and its libraries included."""

    value: Any
    seconds: float
    cpu_seconds: float
    peak: int


def in_fresh_process(function: Callable[..., Any], *arguments: Any, threads: int = 1) -> Spent:
    """`function(*arguments)` in a new interpreter with this many threads; both must be importable and picklable.

    Time runs from the call of the function to its return: imports at the head of its module are not in it.
    Raises `RuntimeError` where the process fails, whose message is on its standard error.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with _threads(threads):
        process = context.Process(target=_spend, args=(theirs, function, arguments))
        process.start()
    theirs.close()
    try:
        spent = ours.recv()
    except EOFError:
        spent = None
    process.join()
    if spent is None:
        raise RuntimeError(f"{function.__name__}{arguments} failed (exit status {process.exitcode})")
    return spent


def _spend(answer: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    value = function(*arguments)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    answer.send(Spent(value, seconds, cpu_seconds, peak_memory()))


@contextmanager
def _threads(count: int):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def copy_project(folder: Path, *paths: str) -> None:
    """Copies the project's tracked files, those below these paths if any are given, into a folder."""
    listed = subprocess.run(["git", "ls-files", *paths], capture_output=True, text=True, check=True).stdout
    for path in map(Path, listed.splitlines()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path)


def peak_memory() -> int:
    """Largest resident memory of this process until now, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count what the parent held when it forked
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of this process in a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def alternately(
    repeats: int, *calls: Callable[[], Any], spent: Callable[[Callable[[], Any]], float] = cpu_seconds
) -> list[list[float]]:
    """Seconds of every call, `repeats` values each, taken in turns so that a busy minute hits all alike; the first
    round warms up and is not counted."""
    rounds = [[spent(call) for call in calls] for _ in range(repeats + 1)]
    return [list(seconds) for seconds in zip(*rounds[1:], strict=True)]


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Quotients of the repetitions that ran side by side."""
    return [a / b for a, b in zip(above, below, strict=True)]


def machine() -> dict[str, Any]:
    """The machine that a figure belongs to."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = named[0] if named else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory, 1), "system": platform.platform()}
