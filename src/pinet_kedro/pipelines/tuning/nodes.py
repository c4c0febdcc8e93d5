"""Adapters of `studies.tuning` to the catalog."""

from typing import Any

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Choice, Figure, Record, StudyPlan
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining


def plan_study(dataset: Dataset, config: Tuning, training: BackboneTraining, plugins: PluginTraining) -> StudyPlan:
    """The plan of the study."""
    from pinet_kedro.project import project_folder
    from pinet_kedro.studies.tuning import plan

    return plan.StudyPlan(config, training, plugins, dataset, project_folder())


def run_trials(plan: StudyPlan, run: RunInfo) -> tuple[Record, pd.DataFrame]:
    """The study's record and its trials, those of earlier runs included."""
    from pinet_kedro.studies.tuning.study import run_study

    return run_study(plan, run.mlflow)


def retrain_finalists(plan: StudyPlan, record: Record, trials: pd.DataFrame) -> tuple[pd.DataFrame, Choice]:
    """The finalists in full on fresh seeds, and the choice among them."""
    from pinet_kedro.studies.tuning.finalists import train_finalists

    return train_finalists(plan, record, trials)


def write_environment(choice: Choice, record: Record, parameters: dict[str, Any], run: RunInfo) -> tuple[str, str]:
    """Parameters and catalog of the environment `tuned`."""
    from pinet_kedro.project import project_folder
    from pinet_kedro.studies.tuning import results

    return results.write_environment(choice, record, parameters, project_folder() / "conf", run.environment)


def draw_study(plan: StudyPlan, record: Record) -> tuple[Figure, Figure, Figure, Figure]:
    """History, importances, slices and front."""
    from pinet_kedro.figures.tuning import tuning_figures

    return tuning_figures(plan.study(), record.base)


def write_page(record: Record, trials: pd.DataFrame, finalists: pd.DataFrame, choice: Choice, **figures: Figure) -> str:
    """The page of the study."""
    from pinet_kedro.studies.tuning.results import render_tuning

    return render_tuning(record, trials, finalists, choice, figures)
