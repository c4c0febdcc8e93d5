"""Classes whose import takes seconds, for annotations alone.

Kedro resolves the hints of every node to find typed parameters, before it is known that a node will run: what is the
real class to the type checker is Any to Kedro, so that no command waits for torch or plotly in vain.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from pinet_kedro.datasets.manifests import Manifest
    from pinet_kedro.evaluation.drift import Drift
    from pinet_kedro.plugins.scorers import FrozenScorers
    from pinet_kedro.recommender import NoModel, Recommender
    from pinet_kedro.retraining.champion import CurrentChampion
    from pinet_kedro.retraining.intake import Intake
    from pinet_kedro.retraining.steps import TrainingRecord, TrainingStart
    from pinet_kedro.serving.batch_inference import Recommendations
    from pinet_kedro.studies.tuning.finalists import Choice
    from pinet_kedro.studies.tuning.plan import Plan
    from pinet_kedro.studies.tuning.study import Record
else:
    Choice = CurrentChampion = Drift = Figure = FrozenScorers = Intake = Manifest = NoModel = Plan = Any
    Recommendations = Recommender = Record = TrainingRecord = TrainingStart = Any

__all__ = [
    "Choice", "CurrentChampion", "Drift", "Figure", "FrozenScorers", "Intake", "Manifest", "NoModel", "Plan",
    "Recommendations", "Recommender", "Record", "TrainingRecord", "TrainingStart",
]  # fmt: skip
