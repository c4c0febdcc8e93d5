"""Adapters of `studies.gradient_noise` to the catalog."""

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Figure
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining, GradientNoise


def measure(
    dataset: Dataset, training: BackboneTraining, noise: GradientNoise, run: RunInfo
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of the strata and of pairs of strata, at every checkpoint of the base's training."""
    from pinet_kedro.studies.gradient_noise.measurement import measure_while_training
    from pinet_kedro.tracking.watching import watch_training

    with watch_training("base", run.mlflow) as watch:
        return measure_while_training(dataset, training, noise, watch)


def draw(table: pd.DataFrame) -> Figure:
    """Figure of the noise scales and the numbers of users."""
    from pinet_kedro.figures.studies import gradient_noise_figure

    return gradient_noise_figure(table)
