"""Adapters of `training.backbone` to the catalog, with monitoring."""

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Figure, NoModel, Recommender, TrainingStart
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining


def train_backbones(
    dataset: Dataset, config: BackboneTraining, run: RunInfo, start: TrainingStart | None = None
) -> tuple[Recommender, pd.DataFrame, Recommender | NoModel, pd.DataFrame]:
    """The jointly trained base with its learning curve, and the same for the model trained by the aggregation.

    Both are trained at once, in two processes, on a machine with two cores. Without an aggregation there is no second
    model, and its curve has no rows. A training that diverges leaves its best model in `data/06_models/diverged_base`
    or `diverged_backbone`.
    """
    from pinet_kedro.pipelines.backbone_training.together import train_watched
    from pinet_kedro.recommender import NoModel, new_recommender

    config, data = (config, "data") if start is None else (start.config, "data/retraining")
    configs = {"base": config.joint()} | ({} if config.aggregation is None else {"backbone": config})
    starts = {} if start is None or start.backbone is None else dict.fromkeys(configs, start.backbone)
    trained = train_watched(configs, dataset, starts, run.mlflow, f"{data}/06_models")
    base, curve = trained["base"]
    if "backbone" not in trained:
        return new_recommender(base, dataset), curve, NoModel("no aggregation is configured"), curve[:0]
    deconfounded, other_curve = trained["backbone"]
    return new_recommender(base, dataset), curve, new_recommender(deconfounded, dataset), other_curve


def draw_curves(base: pd.DataFrame, deconfounded: pd.DataFrame) -> tuple[Figure, Figure]:
    """Learning curves of both models, and the weights of the strata in the aggregation."""
    from pinet_kedro.figures.training import learning_curves_figure, stratum_weights_figure

    curves = pd.concat([base, deconfounded], ignore_index=True)
    return learning_curves_figure(curves), stratum_weights_figure(curves)
