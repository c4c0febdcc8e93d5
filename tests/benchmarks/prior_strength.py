"""Settings of the deconfounded aggregation, compared under equal plugins without the test events.

    python tests/benchmarks/prior_strength.py amazon_beauty results.jsonl 1 2 3

The log of an environment without each user's newest event, so that the validation events are the targets, two events
after training, as test targets are. For each setting a backbone is trained as the environment says, and gets plugins.
`results.jsonl` gets a line for each model as it goes; what it has already is not trained again. Printed are the gains
over joint training, alone and under plugins, with intervals over users and seeds. A model takes 1 to 5 CPU minutes.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from pinet_kedro.dataset import Dataset, build_dataset
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.parameters import plain
from pinet_kedro.recommender import Recommender, new_recommender
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

# What differs from `rule: deconfounded`; None is joint training.
SETTINGS: dict[str, dict[str, Any] | None] = {
    "joint": None,
    "consensus": {},
    "λ = 0": {"strength": 0.0},
    "λ = 1": {"strength": 1.0},
    "no consensus": {"temperature": None, "gate": False},
    "λ = 0.5": {"strength": 0.5},
    "no consensus, λ = 1": {"temperature": None, "gate": False, "strength": 1.0},
    "body": {"parameters": "body"},
    "global": {"scope": "global"},
    "no moving average": {"decay": 0.0},
}


def without_newest(env: str) -> tuple[Dataset, dict[str, Any]]:
    """The environment's dataset without each user's newest event, and its parameters."""
    bootstrap_project(Path.cwd())
    with KedroSession.create(Path.cwd(), env=env) as session:
        context = session.load_context()
        parameters = context.params
        events = Interactions.of(context.catalog.load("raw_interactions")).cleaned(parameters["cleaning"])[0].events
    events = events.sort_values(["user_id", "timestamp"], kind="stable")
    events = events[events.duplicated("user_id", keep="last")].reset_index(drop=True)
    enough = events.groupby("user_id")["item_id"].transform("size") >= 3
    names = ("splitting", "exclude_seen", "stratification")
    return build_dataset(events[enough].reset_index(drop=True), *(parameters[name] for name in names))[0], parameters


def measure(env: str, results: Path, seed: int) -> None:
    """Appends NDCG@10 of every user, alone and under plugins, by setting."""
    dataset, parameters = without_newest(env)
    users, at = dataset.test_users, dataset.split.test_at

    def ndcg(model: Recommender) -> list[float]:
        ranks = target_ranks(model, dataset.sequences, users, at[users], dataset.split.exclude_seen)
        return [round(float(value), 6) for value in user_metrics(ranks)["ndcg_at_10"]]

    done = {(x["env"], x["seed"], x["setting"]) for x in lines_of(results)}
    for name, changes in SETTINGS.items():
        if (env, seed, name) in done:
            continue
        rule = None if changes is None else {"rule": "deconfounded", **changes}
        training = {**plain(parameters["backbone_training"]), "seed": seed, "aggregation": rule}
        backbone = train_backbone(dataset, BackboneTraining.model_validate(training))
        alone = new_recommender(backbone, dataset)
        config = parameters["plugin_training"]
        scorers = build_scorers(dataset, alone.popularity, config)
        pin = replace(alone, plugins=fit_plugins(backbone, dataset, scorers, config)[0])
        line = {"env": env, "seed": seed, "setting": name, "alone": ndcg(alone), "plugins": ndcg(pin)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def lines_of(results: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def main(env: str, results: str, *seeds: str) -> None:
    torch.set_num_threads(1)
    for seed in seeds:
        measure(env, Path(results), int(seed))
    found = {(x["setting"], x["seed"]): x for x in lines_of(Path(results)) if x["env"] == env}
    for name in SETTINGS:
        of_setting = [seed for setting, seed in found if setting == name]
        for kind in ("alone", "plugins"):
            ndcg, joint = (np.array([found[who, seed][kind] for seed in of_setting]) for who in (name, "joint"))
            if len(ndcg):
                sys.stdout.write(f"{env}, {name}, {kind}: {ndcg.mean():.4f}, {relative_gain(ndcg, joint)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
