"""Every pipeline by name; `full`, also the default, is the sum of its stages in order."""

from importlib import import_module

from kedro.pipeline import Pipeline

from pinet_kedro.pipelines.namespaces import as_stage

STAGES = (
    "data_validation",
    "activeness_stratification",
    "backbone_training",
    "plugin_training",
    "refit",
    "evaluation",
    "registration",
)
DATA_STAGES = STAGES[:2]
STUDIES = ("benchmark", "gradient_noise", "tuning")
# Of a registered model: on the data that the data stages have left, on what it was asked, or on new files.
LIFE = ("promotion", "batch_inference", "feedback", "refresh")
# On data of its own.
RETRAINING = ("retraining", "retraining_batch_inference")


def register_pipelines() -> dict[str, Pipeline]:
    """The project's pipelines by name."""
    stages = {name: as_stage(name, _create(name)) for name in STAGES}
    full = sum(stages.values(), start=Pipeline([]))
    data = sum((stages[name] for name in DATA_STAGES), start=Pipeline([]))
    studies = {name: data + as_stage(name, _create(name)) for name in STUDIES}
    life = {name: as_stage(name, _create(name)) for name in LIFE}
    retraining = {name: _create(name) for name in RETRAINING}
    return {**stages, "full": full, **studies, **life, **retraining, "__default__": full}


def _create(name: str) -> Pipeline:
    return import_module(f"pinet_kedro.pipelines.{name}.pipeline").create_pipeline()
