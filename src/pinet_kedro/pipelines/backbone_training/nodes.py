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
    from contextlib import ExitStack
    from functools import partial

    from pinet_kedro.datasets.divergence import store_best_on_divergence
    from pinet_kedro.pipelines.backbone_training.together import Training, train_together
    from pinet_kedro.recommender import NoModel, new_recommender
    from pinet_kedro.tracking.watching import watch_training

    config, first, data = (config, None, "data") if start is None else (start.config, start.backbone, "data/retraining")
    configs = {"base": config.joint()} | ({} if config.aggregation is None else {"backbone": config})
    with ExitStack() as stack:
        watches = {name: stack.enter_context(watch_training(name, run.mlflow)) for name in configs}
        trained = train_together(
            {
                name: Training(
                    dataset, config, first, watches[name],
                    partial(store_best_on_divergence, f"{data}/06_models/diverged_{name}", dataset),
                )
                for name, config in configs.items()
            }
        )  # fmt: skip
    models = [new_recommender(backbone, dataset) for backbone in trained.values()]
    curves = [watch.curve() for watch in watches.values()]
    if config.aggregation is None:
        return models[0], curves[0], NoModel("no aggregation is configured"), curves[0].iloc[:0]
    return models[0], curves[0], models[1], curves[1]


def draw_curves(base: pd.DataFrame, deconfounded: pd.DataFrame) -> tuple[Figure, Figure]:
    """Learning curves of both models, and the weights of the strata in the aggregation."""
    from pinet_kedro.reporting.figures.training import learning_curves_figure, stratum_weights_figure

    curves = pd.concat([base, deconfounded], ignore_index=True)
    return learning_curves_figure(curves), stratum_weights_figure(curves)
