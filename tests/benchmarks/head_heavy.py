"""Aggregation where the logged users are not those that are served, on MovieLens-100k.

    python tests/benchmarks/head_heavy.py results.jsonl 1 2 3

Most of the served users are tail users, but the log has the head: all users above the median of events are logged, and
one in twenty of the others, drawn by the seed. Judged are the others, of whom training, plugins and scorers have seen
nothing, on their test targets after their whole histories. If an intervened prior of strata is worth anything, it
should be here. Each seed takes 3 to 5 CPU minutes; `results.jsonl` gets a line for each model as it goes. Printed is
the gain of each rule over joint training, alone and under plugins, with intervals over users and seeds.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cold_items import movielens

from pinet_kedro.aggregation.config import BackdoorConfig, BalancedConfig, DeconfoundedConfig
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import new_recommender
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

RULES = {
    "joint": None, "deconfounded": DeconfoundedConfig(strength=1.0), "balanced": BalancedConfig(),
    "backdoor": BackdoorConfig(strength=1.0),
}  # fmt: skip


def measure(dataset: Dataset, seed: int, results: Path) -> None:
    """Appends NDCG@10 of the users who are never logged, by rule, with and without plugins."""
    lengths, rng = dataset.sequences.lengths, np.random.default_rng(seed)
    low = np.flatnonzero(lengths <= np.median(lengths))
    never = np.setdiff1d(low, rng.choice(low, len(low) // 20, replace=False))
    log = replace(dataset, split=dataset.split.only(~np.isin(np.arange(dataset.n_users), never)))
    judged, at = never[dataset.split.test_at[never] >= 0], dataset.split.test_at
    for name, rule in RULES.items():
        backbone = train_backbone(log, BackboneTraining(seed=seed, aggregation=rule))
        alone = new_recommender(backbone, log)
        scorers = build_scorers(log, alone.popularity, PluginTraining())
        pin = replace(alone, plugins=fit_plugins(backbone, log, scorers, PluginTraining())[0])
        for plugins, model in ((False, alone), (True, pin)):
            ranks = target_ranks(model, dataset.sequences, judged, at[judged], dataset.split.exclude_seen)
            line = {"seed": seed, "rule": name, "plugins": plugins, "ndcg": user_metrics(ranks)["ndcg_at_10"].tolist()}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def main(results: str, *seeds: str) -> None:
    torch.set_num_threads(1)
    for seed in seeds:
        measure(movielens(), int(seed), Path(results))
    lines = [json.loads(line) for line in Path(results).read_text(encoding="utf-8").splitlines()]
    for plugins in (False, True):
        found = {rule: [x["ndcg"] for x in lines if (x["rule"], x["plugins"]) == (rule, plugins)] for rule in RULES}
        joint = np.array(found["joint"])
        for rule, ndcg in found.items():
            gain = relative_gain(np.array(ndcg), joint)
            where = "under plugins" if plugins else "alone"
            sys.stdout.write(f"{rule} {where}: {np.mean(ndcg):.4f}, over joint {gain}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
