"""Classes with slow imports, for annotations only.

Kedro resolves the type hints of all nodes to find typed parameters, also of nodes that will not run. The type checker
sees the real classes here and Kedro sees Any, so that no command imports torch or plotly needlessly.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from pinet_kedro.datasets.manifests import Manifest
    from pinet_kedro.datasets.raw_log import RawLog
    from pinet_kedro.evaluation.drift import Drift
    from pinet_kedro.feedback.report import FeedbackReport
    from pinet_kedro.fitting.choice import BackboneChoice
    from pinet_kedro.plugins.scorers import FrozenScorers
    from pinet_kedro.recommender import NoModel, Recommender
    from pinet_kedro.refresh.growth import Growth
    from pinet_kedro.registry.loading import VersionModels
    from pinet_kedro.retraining.champion import Champion, CurrentChampion
    from pinet_kedro.retraining.intake import Intake
    from pinet_kedro.retraining.partitions import Delivery
    from pinet_kedro.retraining.steps import HeldOut, RetrainingSummary, TrainingRecord, TrainingStart
    from pinet_kedro.serving.batch_inference import Recommendations
    from pinet_kedro.studies.tuning.finalists import Choice
    from pinet_kedro.studies.tuning.plan import StudyPlan
    from pinet_kedro.studies.tuning.study import Record
else:
    BackboneChoice = Champion = Choice = CurrentChampion = Delivery = Drift = FeedbackReport = Figure = Any
    FrozenScorers = Growth = HeldOut = Intake = Manifest = NoModel = RawLog = Recommendations = Recommender = Any
    Record = RetrainingSummary = StudyPlan = TrainingRecord = TrainingStart = VersionModels = Any

__all__ = [
    "BackboneChoice", "Champion", "Choice", "CurrentChampion", "Delivery", "Drift", "FeedbackReport", "Figure",
    "FrozenScorers", "Growth", "HeldOut", "Intake", "Manifest", "NoModel", "RawLog", "Recommendations",
    "Recommender", "Record", "RetrainingSummary", "StudyPlan", "TrainingRecord", "TrainingStart", "VersionModels",
]  # fmt: skip
