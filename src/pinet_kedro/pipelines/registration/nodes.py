"""Adapters of `registry` to the catalog."""

from typing import Any

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Manifest, NoModel, Recommender, VersionModels
from pinet_kedro.retrieval.config import TwoStage
from pinet_kedro.tracking.run_info import RunInfo


def collect(
    model: Recommender, judged: Recommender | NoModel, users: pd.DataFrame, dataset: Dataset, two_stage: TwoStage
) -> VersionModels:
    """The models of a version, the served one as it answers: with categories of its items, in two stages if configured;
    the hashes of its users, and what is held out."""
    from dataclasses import replace

    from pinet_kedro.categories import ItemCategories
    from pinet_kedro.fitting.two_stage import in_two_stages
    from pinet_kedro.recommender import NoModel
    from pinet_kedro.registry.loading import VersionModels, held_out
    from pinet_kedro.registry.users import hash_users

    hashes = hash_users(users["user_id"])
    served = in_two_stages(model, dataset, two_stage)
    served = replace(served, categories=ItemCategories.of(model.item_ids, dataset.items))
    refitted = None if isinstance(judged, NoModel) else judged
    return VersionModels(served, refitted, users=hashes, held_out=held_out(dataset))


def register(
    models: VersionModels, manifest: Manifest, evaluation: dict[str, Any],
    report: str, run: RunInfo,  # noqa: ARG001
) -> dict[str, Any]:  # fmt: skip
    """Name, number, alias and run of the registered version, which may have been registered before."""
    from pinet_kedro.datasets.manifests import MANIFEST_FILE
    from pinet_kedro.registry.registration import register_once
    from pinet_kedro.tracking.server import sentence

    later = (
        "The model is trained and evaluated, and everything is stored in data/, but it is not registered. When the "
        f"server answers again: {run.registration}"
    )
    with sentence(run.tracking.uri, later):
        return register_once(
            models,
            evaluation,
            run.tracking,
            manifest.tags(),
            {MANIFEST_FILE: manifest.model_dump(mode="json")},
            run.mlflow_id,
        )
