"""What stands in `conf/`: every section of the parameters with its typed configuration."""

from typing import Any

from pydantic import ValidationError

from pinet_kedro.activeness import Stratification
from pinet_kedro.checking import complaints, joined
from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.interactions.split import Splitting
from pinet_kedro.operations.benchmark.config import Benchmark
from pinet_kedro.operations.inference.batch_inference_config import BatchInference
from pinet_kedro.operations.inference.config import Serving
from pinet_kedro.operations.promotion.config import Promotion
from pinet_kedro.operations.registry.config import Tracking
from pinet_kedro.operations.retraining.config import Retraining
from pinet_kedro.operations.scheduling.config import Schedule
from pinet_kedro.operations.tuning.config import Tuning
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.training.config import BackboneTraining, GradientNoise

SECTIONS: dict[str, type[Configuration]] = {
    "cleaning": Cleaning,
    "splitting": Splitting,
    "stratification": Stratification,
    "backbone_training": BackboneTraining,
    "plugin_training": PluginTraining,
    "tracking": Tracking,
    "promotion": Promotion,
    "retraining": Retraining,
    "retraining_splitting": Splitting,
    "batch_inference": BatchInference,
    "serving": Serving,
    "schedule": Schedule,
    "benchmark": Benchmark,
    "gradient_noise": GradientNoise,
    "tuning": Tuning,
}


def check_sections(parameters: dict[str, Any]) -> None:
    """Raises `InputError`, which lists what is wrong in any section: a configuration is right as a whole or not."""
    found: list[str] = []
    for name, model in SECTIONS.items():
        if name in parameters:
            try:
                model.model_validate(parameters[name])
            except ValidationError as error:
                found += complaints(error, model, parameters[name], name)
    if found:
        raise InputError(joined(found))
