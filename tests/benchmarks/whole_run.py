"""Where the seconds of `kedro run --pipeline=full` on MovieLens-100k go, and its peak memory.

The project's tracked files and the raw log are copied to an empty folder, so that nothing stored is found and nothing
is overwritten. A node lasts from the line that announces it to the next one; "start-up" is what comes before the first
(imports, configuration, the gate on the raw log); "shut-down" is the last one with all that follows it (tracking).
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from measuring import Figure, copy_project

RAW = Path("data/01_raw/ml-100k.inter")
REPEATS = 3


def figures() -> Iterator[Figure]:
    """The whole run, then every part of it."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for part, taken in one_run().items():
            seconds[part].append(taken)
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    yield Figure("whole run", "s", whole)
    for part, taken in seconds.items():
        yield Figure("part", "s", taken, {"of": part})
    yield Figure("peak memory", "MiB", [resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10])


def one_run() -> dict[str, float]:
    """Seconds of every part of a run, in its order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        (folder / RAW).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RAW, folder / RAW)
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        command = [sys.executable, "-m", "kedro", "run", "--pipeline=full"]
        started = time.perf_counter()
        pipe = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=folder, env=environment, **pipe) as process:
            part, since, seconds = "start-up", started, {}
            for line in process.stderr:
                announced = re.search(r"INFO \[\d+/\d+\] (\w+)", line)
                if announced:
                    seconds[part] = time.perf_counter() - since
                    part, since = announced[1], time.perf_counter()
        if process.returncode:
            raise RuntimeError(f"kedro run ended with status {process.returncode}: {line}")
        seconds[f"{part}, shut-down"] = time.perf_counter() - since
    return seconds
