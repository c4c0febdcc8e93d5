"""The plugins' transition memory: building it, its size, reading it, and what it costs to keep fewer neighbours.

Long-tailed logs of the size that `preparation` has; one thread, every build in a process of its own, whose largest
resident memory is the peak (interpreter, libraries and the pages of the events that were read included). Recall is of
1,000 users in the blocks in which they are ranked. NDCG@10 on test targets is that of plugins by stratum without a
backbone and without factors, so that nothing but the memory is personal: with either, less is lost. It is measured on
the logs that are there: data/01_raw/ml-100k.inter, and amazon_beauty.csv.gz and ml_1m.csv.gz in $PINET_DATA.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measuring import Figure, in_fresh_process
from preparation import SIZES, synthetic_log

from pinet_kedro.activeness import Stratification
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.dataset import build_dataset
from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import block_users
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Cleaning, Columns, clean_events, read_interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import generate_interactions
from pinet_kedro.plugins.config import MemoryConfig, PluginTraining
from pinet_kedro.plugins.memory import build_memory
from pinet_kedro.recommender import new_recommender

NEIGHBOURS = (100, 500, 2000)
FEWER = (10_000, 2000, 500, 200, 100, 50)
MOVIELENS = Columns(user="user_id:token", item="item_id:token", timestamp="timestamp:float")


def store_log(events: int, folder: Path) -> tuple[int, int]:
    """Events and items of the log that is stored."""
    log = generate_interactions(synthetic_log(events))
    dataset, _ = build_dataset(log, Splitting(), ExcludeSeen(True), Stratification())
    PreparedDataset(str(folder)).save(dataset)
    return len(dataset.sequences.items), dataset.n_items


def build(folder: Path, n_items: int, neighbours: int) -> tuple[float, int, float]:
    """Seconds of the build, entries, and seconds of recall for 1,000 users."""
    dataset = PreparedDataset(str(folder)).load()
    sequences, split = dataset.sequences, dataset.split
    started = time.perf_counter()
    memory = build_memory(dataset, MemoryConfig(neighbours=neighbours))
    built = time.perf_counter()
    users = np.random.default_rng(1).choice(sequences.n_users, 1000)
    histories = sequences.windows(users, split.test_at[users], memory.config.window)
    ready, block = time.perf_counter(), block_users(n_items)
    for start in range(0, len(users), block):
        memory.recall(histories[start : start + block]).toarray()
    return built - started, memory.matrix.nnz, time.perf_counter() - ready


def ndcg(log: Path, columns: Columns, unit: str, neighbours: tuple[int, ...]) -> list[tuple[float, int]]:
    """NDCG@10 of all users by neighbours kept, and the memory's entries."""
    events, _ = clean_events(read_interactions(log, columns, unit).events, Cleaning())
    dataset, _ = build_dataset(events, Splitting(), ExcludeSeen(True), Stratification())
    sequences, split = dataset.sequences, dataset.split
    backbone = build_backbone(SASRecConfig(width=8, blocks=1, heads=1, max_length=10), dataset.n_items).eval()
    alone = new_recommender(backbone, dataset)
    found = []
    for count in neighbours:
        memory = MemoryConfig(neighbours=count)
        config = PluginTraining(backbone=False, factors=None, memory_search=None, memory=memory)
        scorers = build_scorers(dataset, alone.popularity, config)
        plugins, _ = fit_plugins(backbone, dataset, scorers, config)
        ranks = target_ranks(
            replace(alone, plugins=plugins), sequences, np.arange(sequences.n_users), split.test_at, split.exclude_seen
        )
        found.append((float(user_metrics(ranks)["ndcg_at_10"].mean()), scorers.memory.matrix.nnz))
    return found


def figures() -> Iterator[Figure]:
    """Per size and number of neighbours; then the loss."""
    with tempfile.TemporaryDirectory() as name:
        for events, repeats in SIZES.items():
            folder = Path(name) / str(events)
            count, n_items = in_fresh_process(store_log, events, folder).value
            for neighbours in NEIGHBOURS:
                at = {"events": count, "items": n_items, "neighbours": neighbours}
                runs = [in_fresh_process(build, folder, n_items, neighbours) for _ in range(repeats)]
                yield Figure("build", "s", [run.value[0] for run in runs], at)
                yield Figure("build, CPU with reading", "s", [run.cpu_seconds for run in runs], at)
                yield Figure("peak memory", "MiB", [run.peak / 2**20 for run in runs], at)
                yield Figure("size", "MiB", [runs[0].value[1] * 8 / 2**20], at)
                yield Figure("recall of 1,000 users", "s", [run.value[2] for run in runs], at)
    folder = Path(os.environ.get("PINET_DATA", "data/01_raw"))
    logs = [
        (Path("data/01_raw/ml-100k.inter"), MOVIELENS, "s"),
        (folder / "amazon_beauty.csv.gz", Columns(), "order"),
        (folder / "ml_1m.csv.gz", Columns(), "order"),
    ]
    for log, columns, unit in logs:
        if log.exists():
            values = in_fresh_process(ndcg, log, columns, unit, FEWER).value
            for neighbours, (value, entries) in zip(FEWER, values, strict=True):
                at = {"log": log.name, "neighbours": neighbours, "entries": entries}
                yield Figure("NDCG@10, memory alone", "", [value], at)
                yield Figure("lost by the cut", "%", [100 * (1 - value / values[0][0])], at)
