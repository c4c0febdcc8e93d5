"""Namespaces: stages, each one box in `kedro viz` and one task in Airflow, and retraining, with files of its own."""

from kedro.pipeline import Pipeline

RETRAINING = "retraining"


def as_stage(name: str, pipeline: Pipeline) -> Pipeline:
    """The pipeline with this name as the namespace and the tag of its nodes; its datasets keep their names."""
    return Pipeline(pipeline, namespace=name, tags=name, prefix_datasets_with_namespace=False)


def in_retraining(pipeline: Pipeline, shared: set[str]) -> Pipeline:
    """The pipeline on datasets named `retraining.…`, stored in data/retraining; `shared` ones and parameters keep their
    names."""
    return Pipeline(
        pipeline,
        namespace=RETRAINING,
        inputs=shared & pipeline.inputs(),
        outputs=shared - pipeline.inputs(),
        parameters={name for name in pipeline.inputs() if name.startswith("params:")},
    )
