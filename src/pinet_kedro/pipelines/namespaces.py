"""Namespaces: stages, each one box in `kedro viz` and one task in Airflow, and retraining, with files of its own."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node


def as_stage(name: str, nodes: Iterable[Node] | Pipeline) -> Pipeline:
    """The nodes with this name as their namespace and tag; their datasets keep their names."""
    return Pipeline(nodes, namespace=name, tags=name, prefix_datasets_with_namespace=False)


def in_retraining(pipeline: Pipeline, shared: set[str]) -> Pipeline:
    """The pipeline on datasets named `retraining.…`, stored in data/retraining; `shared` ones and parameters keep their
    names."""
    return Pipeline(
        pipeline,
        namespace="retraining",
        inputs=shared & pipeline.inputs(),
        outputs=shared - pipeline.inputs(),
        parameters={name for name in pipeline.inputs() if name.startswith("params:")},
    )
