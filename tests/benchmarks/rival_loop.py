"""The loop that every rival is trained in, in its own environment: epoch by epoch, resumable, until it stops improving.

    python <rival>_side.py FOLDER MINUTES

FOLDER holds what `rivals.py` wrote: the log (`log/log.inter`: users and items numbered from 1, timestamps that tell all
events apart) and `held_out.npz`. One line of JSON an epoch goes to `epochs.jsonl` beside them, and at the end the CPU
seconds of ranking all users RANKINGS times to `rankings.json`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import alternately, peak_memory

PATIENCE = 20
RANKINGS = 5  # after one that warms up


def spent(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the call returns, its seconds and its CPU seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, time.perf_counter() - started, time.process_time() - cpu


def arguments() -> tuple[Path, float]:
    """The folder and the time to stop at."""
    folder, minutes = sys.argv[1:]
    del sys.argv[1:]  # libraries read it, too
    return Path(folder).resolve(), time.time() + 60 * float(minutes)


def train(
    folder: Path,
    until: float,
    prepare: Callable[[], Any],
    epoch: Callable[[Any], None],
    valid: Callable[[Any], float],
    test: Callable[[Any], float],
    save: Callable[[Any, Path], None],
    load: Callable[[Any, Path], None],
    counts: Callable[[Any], dict[str, int]],
) -> None:
    """Prepares, goes on after the last stored epoch, stops at `until` or PATIENCE epochs after the best one, and ranks.

    `counts`: training targets an epoch (`events`) and users that are ranked (`users`).
    """
    model, seconds, cpu = spent(prepare)
    (folder / "prepared.json").write_text(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))
    log, state = folder / "epochs.jsonl", folder / "state"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if state.exists() else []
    if rows:
        load(model, state)
    while time.time() < until and len(rows) < 300:
        best = max(rows, key=lambda row: row["valid"], default={"epoch": 0})
        if len(rows) - best["epoch"] >= PATIENCE:
            break
        _, seconds, cpu = spent(lambda: epoch(model))
        row = {"epoch": len(rows) + 1, "seconds": seconds, "cpu_seconds": cpu}
        rows.append(row | {"valid": valid(model), "test": test(model), "peak": peak_memory()} | counts(model))
        save(model, state.with_suffix(".part"))
        log.with_suffix(".part").write_text("".join(json.dumps(r) + "\n" for r in rows))
        os.replace(log.with_suffix(".part"), log)
        os.replace(state.with_suffix(".part"), state)
        sys.stdout.write(json.dumps(rows[-1]) + "\n")
        sys.stdout.flush()
    [rankings] = alternately(RANKINGS, lambda: valid(model))
    (folder / "rankings.json").write_text(json.dumps(rankings))
