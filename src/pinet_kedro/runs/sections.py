"""The parameters of `conf/`: the type of each, most of them sections with a typed configuration."""

from typing import Any

from pydantic import StrictBool, TypeAdapter, ValidationError

from pinet_kedro.activeness import Stratification
from pinet_kedro.checking import complaints, joined
from pinet_kedro.errors import InputError
from pinet_kedro.feedback.config import Feedback
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.interactions.split import Splitting
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.refresh.config import Refresh
from pinet_kedro.registry.registration_config import Registration
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retrieval.config import TwoStage
from pinet_kedro.scheduling.config import RunSchedule
from pinet_kedro.serving.config import BatchInference, Serving
from pinet_kedro.studies.benchmark.config import Benchmark
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.training.config import BackboneTraining, GradientNoise

SECTIONS: dict[str, Any] = {
    "exclude_seen": StrictBool,
    "cleaning": Cleaning,
    "splitting": Splitting,
    "stratification": Stratification,
    "backbone_training": BackboneTraining,
    "plugin_training": PluginTraining,
    "registration": Registration,
    "two_stage": TwoStage,
    "tracking": Tracking,
    "promotion": Promotion,
    "retraining": Retraining,
    "retraining_splitting": Splitting,
    "refresh": Refresh,
    "batch_inference": BatchInference,
    "serving": Serving,
    "feedback": Feedback,
    "schedule": RunSchedule,
    "benchmark": Benchmark,
    "gradient_noise": GradientNoise,
    "tuning": Tuning,
}


def typed_sections(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters with every section as its typed value, defaults included.

    Raises one `InputError` that lists what is wrong in any section, whether or not the run reads it.
    """
    typed = dict(parameters)
    found: list[str] = []
    for name, kind in SECTIONS.items():
        if name in parameters:
            try:
                typed[name] = TypeAdapter(kind).validate_python(parameters[name])
            except ValidationError as error:
                found += complaints(error, kind, parameters[name], name)
    if found:
        raise InputError(joined(found))
    return typed
