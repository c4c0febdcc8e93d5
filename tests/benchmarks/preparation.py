"""From a raw Parquet file to ready sequences: `kedro run --pipelines=data_validation,activeness_stratification`.

The command of a user, both gates included, on a long-tailed log of its own size (`raw_log`) in an empty folder; two
threads. Every part lasts from the event of Kedro that begins it to the next one: "load", "store" and "gate" of a
dataset, and the nodes by name; "start-up" is what comes before the first (imports, configuration, a new tracking
store), "shut-down" what follows the last. Memory is the largest resident memory while the part lasts. Parts below a
hundredth of the whole are left out.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Figure, copy_project, in_fresh_process, peak_memory

from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions

SIZES = {250_000: 3, 2_500_000: 3, 25_000_000: 1}  # events -> repetitions
ENVIRONMENTS = ("csv", "duckdb")
PIPELINES = "data_validation,activeness_stratification"


def synthetic_log(events: int) -> SyntheticLog:
    """A log of about so many events: 125 a user (median 15, at most 3,000), 0.3 items a user."""
    users = events // 125
    return SyntheticLog(
        users=users, items=users * 3 // 10, min_events=5, tail_exponent=0.65, max_events=3000, planted=0.5
    )


def raw_log(events: int, path: Path) -> int:
    """Rows of the Parquet file that is written; one of a hundred events is logged twice."""
    log = generate_interactions(synthetic_log(events))
    twice = np.random.default_rng(1).random(len(log)) < 0.01
    rows = np.repeat(np.arange(len(log)), 1 + twice)
    log.drop(columns="rating").take(rows).to_parquet(path, index=False)
    return len(rows)


class Stopwatch:
    """Seconds, CPU seconds and peak memory of the parts of a run, in their order; a hook of Kedro."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        self.current = "start-up"
        self.since = time.perf_counter(), time.process_time()

    def begin(self, part: str) -> str:
        """Ends the part that runs, whose name is returned, and begins another."""
        before, spent = self.current, self.parts[self.current]
        now = time.perf_counter(), time.process_time()
        spent[0] += now[0] - self.since[0]
        spent[1] += now[1] - self.since[1]
        spent[2] = max(spent[2], peak_memory() / 2**20)
        reset = Path("/proc/self/clear_refs")
        if reset.exists():
            reset.write_text("5")
        self.current, self.since = part, now
        return before

    def gate(self, validate: Callable[..., Any]) -> Callable[..., Any]:
        """The gate as a part of its own."""

        def watched(gate: Any, data: Any) -> Any:
            before = self.begin(f"gate of {Path(gate._suite).stem}")
            try:
                return validate(gate, data)
            finally:
                self.begin(before)

        return watched


def prepare(folder: Path, log: Path, env: str) -> dict[str, list[float]]:
    """Parts of one run in this folder, which holds the project's files: seconds, CPU seconds, MiB each."""
    watch = Stopwatch()
    os.chdir(folder)
    from kedro.framework.hooks import hook_impl
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    from pinet_kedro.cli import cli
    from pinet_kedro.validation.gate import ExpectationGate

    class Hooks:
        @hook_impl
        def before_dataset_loaded(self, dataset_name):
            watch.begin(f"load {dataset_name}")

        @hook_impl
        def before_node_run(self, node):
            watch.begin(node.name)

        @hook_impl
        def before_dataset_saved(self, dataset_name):
            watch.begin(f"store {dataset_name}")

        @hook_impl
        def after_pipeline_run(self):
            watch.begin("shut-down")

    bootstrap_project(folder)
    settings.set("HOOKS", (*settings.HOOKS, Hooks()))
    ExpectationGate.validate = watch.gate(ExpectationGate.validate)
    arguments = ["run", f"--pipelines={PIPELINES}", f"--env={env}", f"--params=filepath={log}"]
    cli(arguments, standalone_mode=False)
    watch.begin("")
    return dict(watch.parts)


def figures() -> Iterator[Figure]:
    """Per size and environment."""
    with tempfile.TemporaryDirectory() as name:
        for events, repeats in SIZES.items():
            log = Path(name) / f"events_{events}.parquet"
            generated = in_fresh_process(raw_log, events, log)
            at = {"events": generated.value}
            yield Figure("generating the log", "s", [generated.seconds], at)
            yield Figure("peak memory, generating the log", "MiB", [generated.peak / 2**20], at)
            for env in ENVIRONMENTS:
                yield from measured(log, env, repeats, at | {"environment": env})


def measured(log: Path, env: str, repeats: int, at: dict[str, Any]) -> Iterator[Figure]:
    """The whole run, then every part of it."""
    runs = [one_run(log, env) for _ in range(repeats)]
    whole = [[sum(part[0] for part in run.values()) for run in runs]]
    whole += [[sum(part[1] for part in run.values()) for run in runs]]
    whole += [[max(part[2] for part in run.values()) for run in runs]]
    yield from described(whole, at | {"of": "the whole run"})
    for part in runs[0]:
        spent = [[run.get(part, [0.0] * 3)[kind] for run in runs] for kind in range(3)]
        if max(spent[0]) >= 0.01 * max(whole[0]):
            yield from described(spent, at | {"of": part})


def described(spent: list[list[float]], at: dict[str, Any]) -> Iterator[Figure]:
    """Three figures."""
    for name, unit, values in zip(("time", "CPU time", "peak memory"), ("s", "s", "MiB"), spent, strict=True):
        yield Figure(name, unit, values, at)


def one_run(log: Path, env: str) -> dict[str, list[float]]:
    """`prepare` in a process and a copy of the project's tracked files of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder, "conf", "src", "pyproject.toml", ".telemetry")
        return in_fresh_process(prepare, folder, log, env, threads=2).value
