"""What a benchmark trains and stores. A model's name has the version of this file (`Cell.model_name`)."""

from dataclasses import replace
from typing import Any

import pandas as pd

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.dataset import Dataset
from pinet_kedro.training.config import BackboneTraining


def training_data(dataset: Dataset, stratification: Stratification | None) -> Dataset:
    """The data with the strata over which gradients are aggregated; None: their own."""
    if stratification is None:
        return dataset
    return replace(dataset, strata=fit_strata(dataset.split.train_end, stratification))


def train(dataset: Dataset, training: BackboneTraining) -> tuple[Any, pd.DataFrame]:
    """The recommender without plugins that is trained on `training_data`, and its learning curve."""
    from pinet_kedro.recommender import new_recommender
    from pinet_kedro.tracking.watching import learning_curve
    from pinet_kedro.training.backbone import EpochReport, train_backbone

    reports: list[EpochReport] = []
    backbone = train_backbone(dataset, training, reports.append)
    return new_recommender(backbone, dataset), learning_curve(reports)


def train_on(alone: Any, learnt: Dataset, training: BackboneTraining) -> Any:
    """The recommender `alone` after a refit on `learnt`."""
    from pinet_kedro.fitting.refit import refit

    return refit(alone, learnt, training)
