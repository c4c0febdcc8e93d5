"""Adapters of `training.backbone` to the catalog, with monitoring."""

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Figure, NoModel, Recommender, TrainingStart
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining


def train_base(
    dataset: Dataset, config: BackboneTraining, run: RunInfo, start: TrainingStart | None = None
) -> tuple[Recommender, pd.DataFrame]:
    """The jointly trained base model and its learning curve.

    A training that diverges leaves its best model in `data/06_models/diverged_base`.
    """
    return _train("base", dataset, _budget(config, start).joint(), run, start)


def train_deconfounded(
    dataset: Dataset, config: BackboneTraining, run: RunInfo, start: TrainingStart | None = None
) -> tuple[Recommender | NoModel, pd.DataFrame]:
    """The model trained by the configured aggregation of gradients, and its learning curve.

    Without an aggregation there is no such model, and the curve has no rows. A training that diverges leaves its best
    model in `data/06_models/diverged_backbone`.
    """
    if config.aggregation is None:
        from pinet_kedro.recommender import NoModel

        return NoModel("no aggregation is configured"), pd.DataFrame(columns=["model", "epoch", "loss"])
    return _train("backbone", dataset, _budget(config, start), run, start)


def _budget(config: BackboneTraining, start: TrainingStart | None) -> BackboneTraining:
    return config if start is None else start.config


def _train(
    name: str, dataset: Dataset, config: BackboneTraining, run: RunInfo, start: TrainingStart | None
) -> tuple[Recommender, pd.DataFrame]:
    from pinet_kedro.datasets.divergence import store_best_on_divergence
    from pinet_kedro.recommender import new_recommender
    from pinet_kedro.tracking.watching import watch_training
    from pinet_kedro.training.backbone import train_backbone

    first, data = (None, "data") if start is None else (start.backbone, "data/retraining")
    with (
        watch_training(name, run.mlflow) as watch,
        store_best_on_divergence(f"{data}/06_models/diverged_{name}", dataset),
    ):
        backbone = train_backbone(dataset, config, watch, first)
    return new_recommender(backbone, dataset), watch.curve()


def draw_curves(base: pd.DataFrame, deconfounded: pd.DataFrame) -> tuple[Figure, Figure]:
    """Learning curves of both models, and the weights of the strata in the aggregation."""
    from pinet_kedro.reporting.figures.training import learning_curves_figure, stratum_weights_figure

    curves = pd.concat([base, deconfounded], ignore_index=True)
    return learning_curves_figure(curves), stratum_weights_figure(curves)
