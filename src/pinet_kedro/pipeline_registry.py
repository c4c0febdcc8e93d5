"""Every pipeline by name; `full`, also the default, is the sum of its stages in order."""

from importlib import import_module

from kedro.pipeline import Pipeline

STAGES = (
    "data_validation",
    "activeness_stratification",
    "backbone_training",
    "plugin_training",
    "evaluation",
    "registration",
)
DATA_STAGES = STAGES[:2]
# Of a registered model. Promotion and batch inference are on the data that the data stages have left.
LIFE = ("promotion", "batch_inference", "retraining")


def register_pipelines() -> dict[str, Pipeline]:
    """The project's pipelines by name."""
    pipelines = {name: _create(name) for name in STAGES}
    full = sum((pipelines[name] for name in STAGES), start=Pipeline([]))
    studies = {
        study: sum((pipelines[name] for name in DATA_STAGES), start=_create(study))
        for study in ("benchmark", "gradient_noise", "tuning")
    }
    life = {name: _create(name) for name in LIFE}
    return {**pipelines, "full": full, **studies, **life, "__default__": full}


def _create(name: str) -> Pipeline:
    return import_module(f"pinet_kedro.pipelines.{name}.pipeline").create_pipeline()
