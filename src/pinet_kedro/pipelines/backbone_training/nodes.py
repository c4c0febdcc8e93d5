"""Adapters of `training.backbone` to the catalog, with what watches it."""

import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.aggregation.config import AggregationConfig
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.pipelines.types import Figure, Recommender, Start
from pinet_kedro.training.config import BackboneTraining


def train_base(
    sequences: Sequences,
    split: Split,
    strata: ReportingStrata,
    items: pd.DataFrame,
    config: BackboneTraining,
    start: Start | None = None,
) -> tuple[Recommender, pd.DataFrame]:
    """The jointly trained base model and its learning curve."""
    return _train("base", sequences, split, strata, items, config, None, start)


def train_deconfounded(
    sequences: Sequences,
    split: Split,
    strata: ReportingStrata,
    items: pd.DataFrame,
    config: BackboneTraining,
    base: Recommender,
    start: Start | None = None,
) -> tuple[Recommender, pd.DataFrame]:
    """The backbone of the configured aggregation of gradients and its learning curve.

    Where no aggregation is configured it is the base, and has no curve of its own.
    """
    if config.aggregation is None:
        return base, pd.DataFrame(columns=["model", "epoch", "loss"])
    return _train("backbone", sequences, split, strata, items, config, config.aggregation, start)


def _train(
    name: str,
    sequences: Sequences,
    split: Split,
    strata: ReportingStrata,
    items: pd.DataFrame,
    config: BackboneTraining,
    aggregation: AggregationConfig | None,
    start: Start | None,
) -> tuple[Recommender, pd.DataFrame]:
    from pinet_kedro.backbones.backbone import Backbone
    from pinet_kedro.datasets.divergence import keep_best
    from pinet_kedro.plugins.popularity import count_popularity
    from pinet_kedro.recommender import Recommender as TrainedModel
    from pinet_kedro.tracking.watching import watch_training
    from pinet_kedro.training.backbone import train_backbone

    def recommender(backbone: Backbone) -> TrainedModel:
        popularity = count_popularity(sequences, split, len(items))
        item_ids = items["item_id"].to_numpy(object)
        return TrainedModel(backbone, strata, popularity, item_ids, exclude_seen=split.exclude_seen)

    config, first = (config, None) if start is None else (start.config, start.backbone)
    with watch_training(name) as watch, keep_best(name, recommender):
        backbone = train_backbone(sequences, split, strata, len(items), config, aggregation, watch, first)
    return recommender(backbone), watch.curve()


def draw_curves(base: pd.DataFrame, backbone: pd.DataFrame) -> tuple[Figure, Figure]:
    """Learning curves of both models, and the strata's weights in the aggregation."""
    from pinet_kedro.reporting.figures.training import learning_curves_figure, stratum_weights_figure

    curves = pd.concat([base, backbone], ignore_index=True)
    return learning_curves_figure(curves), stratum_weights_figure(curves)
