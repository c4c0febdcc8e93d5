"""SASRec here, in RecBole 1.2.1 and in RecTools: the same log, split, size and full ranking, one thread each.

MovieLens-100k (5-core, leave-one-out; seen items do not count in the ranking). A rival trains with its own defaults
until its validation NDCG@10 has not improved for 20 epochs; its score is the test NDCG@10 at its best validation epoch
(its highest at any epoch, which nobody could have chosen, stands beside it). We train with the settings of conf/base,
and once more with relative positions; the epochs counted are the fewest of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32 and 48
whose test NDCG@10 (median of 3 seeds) is not below it. Time is CPU time of training alone. Rankings are taken in turns:
a process of the rival's, one of ours, each ranking all users several times. A rival makes its environment when it is
missing, and trains at most RIVAL_MINUTES (20) a run: run it again, and it goes on. A rival that has not come to its end
is compared at what it has reached, which flatters it.
"""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import Figure, Spent, alternately, in_fresh_process, ratios
from rival_loop import RANKINGS

from pinet_kedro.activeness import Stratification
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.dataset import Dataset, build_dataset
from pinet_kedro.evaluation.metrics import metrics_by_group
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.interactions.events import Cleaning, Columns, clean_events, read_interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

RAW = Path("data/01_raw/ml-100k.inter")
WORK = Path("data/07_model_output/rivals")
REQUIREMENTS = {
    "recbole": ["recbole==1.2.1", "torch<2.14", "numpy<2", "pandas<3", "setuptools<81"],
    "rectools": ["rectools[torch]==0.19.0", "torch<2.14", "setuptools<81"],
}
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
SEEDS = (1, 2, 3)
ROUNDS = 3  # of rankings in turns


def prepare() -> Dataset:
    """The dataset of the raw file."""
    columns = Columns(user="user_id:token", item="item_id:token", timestamp="timestamp:float")
    events, _ = clean_events(read_interactions(RAW, columns, "s").events, Cleaning())
    return build_dataset(events, Splitting(), ExcludeSeen(True), Stratification())[0]


def ours(epochs: int, seed: int, positions: str) -> dict[str, float]:
    """A backbone trained for these epochs: its test NDCG@10, and CPU seconds of training."""
    dataset = prepare()
    sequences, split = dataset.sequences, dataset.split
    schedule = {"epochs": epochs, "validate_every": epochs}
    settings = {"seed": seed, "backbone": {"name": "sasrec", "positions": positions}, "schedule": schedule}
    config = BackboneTraining.model_validate(settings)
    started = time.process_time()
    backbone = train_backbone(dataset, config.joint())
    spent = time.process_time() - started
    users = np.arange(sequences.n_users)
    ranks = target_ranks(BackboneScorer(backbone), sequences, users, split.test_at, split.exclude_seen)
    table = metrics_by_group(ranks, {"all": np.ones(len(users), bool)})
    return {
        "test": table["all"]["ndcg_at_10"],
        "cpu_seconds": spent,
        "events": epochs * int(np.minimum(split.train_end - 1, config.backbone.max_length).sum()),
    }


def rankings() -> list[float]:
    """CPU seconds of ranking all users' validation targets, as often as a rival does."""
    dataset = prepare()
    sequences, split, items = dataset.sequences, dataset.split, dataset.n_items
    scorer = BackboneScorer(build_backbone(BackboneTraining().backbone, items).eval())
    asked = (np.arange(sequences.n_users), split.valid_at, split.exclude_seen)
    [seconds] = alternately(RANKINGS, lambda: target_ranks(scorer, sequences, *asked))
    return seconds


def hand_over(folder: Path) -> None:
    """Writes what a rival reads: the clean log, and who has seen and is asked for what."""
    dataset = prepare()
    sequences, split, items = dataset.sequences, dataset.split, dataset.n_items
    user, position = np.repeat(np.arange(sequences.n_users), sequences.lengths), sequences.positions()
    log = pd.DataFrame({"user_id:token": user + 1, "item_id:token": sequences.items, "timestamp:float": position + 1.0})
    seen = np.zeros((sequences.n_users, items), bool)
    before = position < split.test_at[user]
    seen[user[before], sequences.items[before] - 1] = True
    valid, test = (sequences.items[sequences.offsets[:-1] + at] for at in (split.valid_at, split.test_at))
    (folder / "log").mkdir(parents=True, exist_ok=True)
    log.to_csv(folder / "log" / "log.inter", sep="\t", index=False)
    np.savez(folder / "held_out.npz", seen=seen, valid=valid, test=test)


def run_rival(name: str, minutes: str) -> list[dict[str, float]]:
    """The rival's epochs until now, of which it trains some in these minutes; then it ranks (`rankings.json`)."""
    folder, home = WORK / name, WORK / f"{name}-venv"
    python = home.resolve() / "bin" / "python"
    if not (home / "installed").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
        (home / "installed").touch()
    if not (folder / "held_out.npz").exists():
        hand_over(folder)
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    side = Path(__file__).with_name(f"{name}_side.py")
    environment = {**os.environ, **threads, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    quiet = ("-W", "ignore::FutureWarning")  # a page of them from RecBole
    command = [python, *quiet, side.resolve(), folder.resolve(), minutes]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def figures() -> Iterator[Figure]:
    """Ours first, then every rival and the ratios."""
    prepared = [in_fresh_process(prepare) for _ in range(3)]
    yield Figure("raw file to sequences, ours", "CPU s", [spent.cpu_seconds for spent in prepared])
    for name in REQUIREMENTS:
        rows, at = run_rival(name, os.environ.get("RIVAL_MINUTES", "20")), {"rival": name}
        best, highest = max(rows, key=itemgetter("valid")), max(rows, key=itemgetter("test"))
        until = sum(row["cpu_seconds"] for row in rows[: int(best["epoch"])])
        yield Figure("epochs trained", "", [len(rows)], at)
        yield Figure("test NDCG@10, rival's best", "", [best["test"]], at | {"epoch": best["epoch"]})
        yield Figure("test NDCG@10, rival's highest", "", [highest["test"]], at | {"epoch": highest["epoch"]})
        yield Figure("training, rival", "CPU s", [until], at)
        yield Figure("training targets, rival", "per CPU s", [row["events"] / row["cpu_seconds"] for row in rows], at)
        yield Figure("peak memory, rival", "MiB", [max(row["peak"] for row in rows) / 2**20], at)
        start = json.loads((WORK / name / "prepared.json").read_text())
        yield Figure("(e) raw file to tensors, rival", "CPU s", [start["cpu_seconds"]], at)
        for positions in ("absolute", "relative"):
            yield from until_reached(best["test"], until, positions, at | {"positions": positions})
        theirs, ranked = rank_in_turns(name)
        users = rows[0]["users"]
        yield Figure("full ranking, rival", "users per CPU s", [users / seconds for seconds in theirs], at)
        yield Figure("full ranking, ours", "users per CPU s", [users / seconds for seconds in ranked], at)
        yield Figure("(c) rival / ours, ranking", "x", ratios(theirs, ranked), at)


def until_reached(wanted: float, rival: float, positions: str, at: dict[str, Any]) -> Iterator[Figure]:
    """What we take until the test NDCG@10 is not below the wanted one, beside the rival's CPU seconds."""
    for epochs in EPOCHS:
        mine = trainings(epochs, positions)
        scores = [spent.value["test"] for spent in mine]
        if reached := float(np.median(scores)) >= wanted:
            break
    at = at | {"epochs": epochs}
    yield Figure(f"test NDCG@10, ours{'' if reached else ': not reached'}", "", scores, at)
    if reached:
        yield Figure("training, ours", "CPU s", [spent.value["cpu_seconds"] for spent in mine], at)
        yield Figure("(a) rival / ours, training", "x", [rival / spent.value["cpu_seconds"] for spent in mine], at)
    rate = [spent.value["events"] / spent.value["cpu_seconds"] for spent in mine]
    yield Figure("(b) training targets, ours", "per CPU s", rate, at)
    yield Figure("(d) peak memory, ours", "MiB", [spent.peak / 2**20 for spent in mine], at)


@cache
def trainings(epochs: int, positions: str) -> list[Spent]:
    """Our trainings of these epochs, one a seed."""
    return [in_fresh_process(ours, epochs, seed, positions) for seed in SEEDS]


def rank_in_turns(name: str) -> tuple[list[float], list[float]]:
    """CPU seconds of ranking all users, the rival's and ours: processes in turns, several rankings each."""
    theirs, ranked = [], []
    for _ in range(ROUNDS):
        run_rival(name, minutes="0")
        theirs += json.loads((WORK / name / "rankings.json").read_text())
        ranked += in_fresh_process(rankings).value
    return theirs, ranked
