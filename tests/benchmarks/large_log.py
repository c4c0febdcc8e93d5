"""A log that does not fit into memory, prepared by an engine: CPU time, memory and disk of every part.

    python tests/benchmarks/large_log.py /disk/folder                       250 million events on DuckDB
    python tests/benchmarks/large_log.py /disk/folder --events=20000000

The log is Parquet, ten million events a file, written to the folder once: 125 events a user in the mean (the tail is
that of `preparation`), 0.1 items a user, drawn by Zipf's law, ids as text, events in the order of time. A hundredth of
the events is logged twice. Then the command of a user runs, both gates included, in a copy of the project in the same
folder; parts are those of `preparation`. Memory is that of the process, of which `engine.memory` bounds DuckDB's part.
At the end the stored dataset is opened, and a few users are evaluated on it.
"""

import argparse
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import copy_project, in_fresh_process
from preparation import prepare

PART = 10_000_000
SECOND = 10**9
USERS_PER_EVENT, ITEMS_PER_USER = 1 / 125, 0.1


def write_log(events: int, folder: Path) -> None:
    """The files of a log of so many events; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(1)
    users = int(events * USERS_PER_EVENT)
    active = np.minimum(5 * (1 + draw.pareto(0.65, users)), 3000)
    popular = 1 / np.arange(1, int(users * ITEMS_PER_USER) + 1)
    names = {"user_id": _names("u", draw.permutation(users)), "item_id": _names("i", draw.permutation(len(popular)))}
    shares = {"user_id": active / active.sum(), "item_id": popular / popular.sum()}
    clock = 1_600_000_000
    for number, first in enumerate(range(0, events, PART)):
        file, rows = folder / f"part-{number:03d}.parquet", min(PART, events - first)
        begin, clock = clock, clock + rows // 8  # eight events a second
        if file.exists():
            continue
        draw = np.random.default_rng([1, number])
        twice = np.repeat(np.arange(rows), 1 + (draw.random(rows) < 0.01))[:rows]
        columns: dict[str, Any] = {
            name: names[name].take(pa.array(_drawn(share, rows, draw)[twice])) for name, share in shares.items()
        }
        columns["timestamp"] = np.sort(draw.integers(begin, clock, rows))[twice] * SECOND
        part = file.with_suffix(".part")
        pq.write_table(pa.table(columns), part)
        part.rename(file)


def _names(letter: str, numbers: np.ndarray) -> pa.Array:
    return pa.array([f"{letter}{number:07d}" for number in numbers.tolist()])


def _drawn(share: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    return draw.permutation(np.repeat(np.arange(len(share)), draw.multinomial(rows, share)))


class Disk(threading.Thread):
    """The most bytes that a folder has had at once, looked at every two seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.most = folder, 0

    def run(self) -> None:
        while True:
            self.most = max(self.most, size_of(self.folder))
            time.sleep(2)


def size_of(folder: Path) -> int:
    """Bytes on disk of the files below a folder, which may go while one looks."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def read_back(folder: Path) -> dict[str, Any]:
    """What the stored dataset holds: its order and split are checked, and 1,000 users ranked by popularity."""
    from pinet_kedro.datasets.folders import PreparedDataset
    from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
    from pinet_kedro.evaluation.metrics import user_metrics
    from pinet_kedro.evaluation.ranks import target_ranks
    from pinet_kedro.plugins.popularity import count_popularity

    data = PreparedDataset(str(folder / "data/05_model_input/dataset")).load()
    log, split = data.sequences, data.split
    assert isinstance(log.items, np.memmap)
    assert log.offsets[-1] == len(log.items) == len(log.timestamps)
    for _, block in log.blocks():
        later = np.diff(block.timestamps) >= 0
        later[block.offsets[1:-1] - 1] = True  # another user begins
        assert later.all()
    assert split.item_counts(log, data.n_items).sum() == split.train_end.sum()
    strata = data.strata.training.assign(data.activeness)
    users = data.test_users[-1000:]  # at the end of the arrays
    popular = PopularityScorer(count_popularity(data))
    ranks = user_metrics(target_ranks(popular, log, users, split.test_at[users], split.exclude_seen))
    hits = float(ranks["hr_at_10"].mean())
    return {"dataset": repr(data), "users of the strata": np.bincount(strata).tolist(), "hit rate at 10": hits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=250_000_000)
    parser.add_argument("--env", default="duckdb")
    args = parser.parse_args()
    log, project = args.folder.resolve() / f"events_{args.events}", args.folder.resolve() / "project"
    spent = in_fresh_process(write_log, args.events, log)
    say(f"the log: {spent.cpu_seconds:,.0f} s of CPU time, {spent.peak / 2**30:.1f} GiB, {gb(size_of(log))} on disk")
    shutil.rmtree(project, ignore_errors=True)
    copy_project(project, "conf", "src", "pyproject.toml", ".telemetry")
    disk = Disk(project)
    disk.start()
    parts = in_fresh_process(prepare, project, log, args.env, threads=2).value
    say(f"{'part':44} {'s':>8} {'CPU s':>8} {'µs/event':>9} {'GiB':>6}")
    for name, (seconds, cpu, peak) in parts.items():
        if cpu >= 0.5:
            row(name, seconds, cpu, peak, args.events)
    whole = [sum(part[kind] for part in parts.values()) for kind in range(2)]
    row("together", *whole, max(part[2] for part in parts.values()), args.events)
    say(f"disk: {gb(disk.most)} at most, {gb(size_of(project))} in the end")
    spent = in_fresh_process(read_back, project)
    say(f"read again: {spent.value}, {spent.cpu_seconds:.0f} s of CPU time, {spent.peak / 2**30:.1f} GiB")


def row(name: str, seconds: float, cpu: float, peak: float, events: int) -> None:
    say(f"{name:44} {seconds:8.1f} {cpu:8.1f} {1e6 * cpu / events:9.2f} {peak / 1024:6.2f}")


def gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
