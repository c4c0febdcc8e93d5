"""What the scorer `categories` is worth to cold items, on MovieLens-100k with its genres.

    python tests/benchmarks/cold_items.py 1 2 3

Leave-one-out has one cold target among 943. So each drawing makes a fifth of the items cold: of their training events
at most four are left, and their targets stay. A base is trained on that log and gets plugins with and without the
scorer, 2 to 4 minutes per drawing. Printed are the differences of all drawings together, with intervals over users:
NDCG@10 and the logarithm of the rank, on test targets, and on validation targets by cross-fitting, which decide whether
the scorer is on by default. How popular a cold item will be is not simulated: it is as popular as before. So a scorer
that only raised all cold items would gain here and nowhere else; the score by categories has no such part.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.dataset import Dataset, build_dataset
from pinet_kedro.datasets.items import ItemMetadataDataset
from pinet_kedro.evaluation.beyond_accuracy import COLD
from pinet_kedro.evaluation.intervals import mean_differences
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.fitting.cross_fit import cross_fitted_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Cleaning, Columns, clean_events, read_interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import new_recommender
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

MOVIELENS = Columns(user="user_id:token", item="item_id:token", timestamp="timestamp:float")
CONFIGS = {"without": PluginTraining(), "with": PluginTraining(scorers={"categories": {}})}


def movielens() -> Dataset:
    events, _ = clean_events(read_interactions(Path("data/01_raw/ml-100k.inter"), MOVIELENS, "s").events, Cleaning())
    entry = yaml.safe_load(Path("conf/base/catalog.yml").read_text(encoding="utf-8"))["item_metadata"]
    metadata = ItemMetadataDataset(entry["filepath"], entry["columns"], entry["fetch"]).load()
    return build_dataset(events, Splitting(), ExcludeSeen(True), Stratification(), metadata)[0]


def thinned(dataset: Dataset, seed: int, share: float = 0.2) -> Dataset:
    """The log in which this share of the items has at most COLD − 1 training events."""
    rng = np.random.default_rng(seed)
    sequences, items = dataset.sequences, dataset.sequences.items - 1
    cold, left = rng.random(dataset.n_items) < share, rng.integers(0, COLD, dataset.n_items)
    events = rng.permutation(np.flatnonzero(dataset.split.in_training(sequences) & cold[items]))
    events = events[np.argsort(items[events], kind="stable")]
    first = np.searchsorted(items[events], items[events])
    kept = np.ones(len(items), bool)
    kept[events[np.arange(len(events)) - first >= left[items[events]]]] = False
    sequences = sequences.where(kept)
    split = split_sequences(sequences, Splitting(), ExcludeSeen(True))
    return replace(dataset, sequences=sequences, split=split, strata=fit_strata(split.train_end, Stratification()))


def measure(dataset: Dataset, training: BackboneTraining) -> dict[str, dict[str, np.ndarray]]:
    """Differences that the scorer makes by user, and which targets are cold, on test and on validation targets."""
    backbone = train_backbone(dataset, training)
    alone, split, ranks = new_recommender(backbone, dataset), dataset.split, {}
    for name, config in CONFIGS.items():
        scorers = build_scorers(dataset, alone.popularity, config)
        pin = replace(alone, plugins=fit_plugins(backbone, dataset, scorers, config)[0])
        users = dataset.test_users
        ranks["test", name] = target_ranks(pin, dataset.sequences, users, split.test_at[users], split.exclude_seen)
        ranks["validation", name] = cross_fitted_ranks([backbone], dataset, config, scorers)[0]
    events = split.item_counts(dataset.sequences, dataset.n_items)
    found = {}
    for part, users, at in (
        ("test", dataset.test_users, split.test_at),
        ("validation", dataset.validation_users, split.valid_at),
    ):
        target = dataset.sequences.items[dataset.sequences.offsets[users] + at[users]] - 1
        ours, theirs = ranks[part, "with"], ranks[part, "without"]
        ndcg = user_metrics(ours)["ndcg_at_10"] - user_metrics(theirs)["ndcg_at_10"]
        found[part] = {"cold": events[target] < COLD, "ndcg_at_10": ndcg, "log rank": np.log(ours.rank / theirs.rank)}
    return found


def main(seeds: list[int]) -> None:
    parameters = yaml.safe_load(Path("conf/base/parameters_backbone_training.yml").read_text(encoding="utf-8"))
    training = BackboneTraining.model_validate(parameters["backbone_training"]).joint()
    whole = movielens()
    drawings = [measure(thinned(whole, seed), training) for seed in seeds]
    for part in drawings[0]:
        values = {name: np.concatenate([of[part][name] for of in drawings]) for name in drawings[0][part]}
        cold = values.pop("cold").astype(bool)
        for group, mask in (("all", np.ones(len(cold), bool)), ("cold", cold), ("others", ~cold)):
            for name, value in values.items():
                [[found]] = mean_differences([(value[None, mask], np.zeros((1, int(mask.sum()))))])
                sys.stdout.write(f"{part} {group} {int(mask.sum())} {name} {found}\n")


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [1])
