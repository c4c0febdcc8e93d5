"""`kedro run --pipeline=data_validation`. The gates are catalog validators: they stop the run at load and at save."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.data_validation.nodes import clean_events


def create_pipeline() -> Pipeline:
    """Gate (raw) -> cleaning -> gate (clean)."""
    inputs, outputs = ["raw_interactions", "params:cleaning"], ["clean_events", "cleaning_report"]
    return Pipeline([node(clean_events, inputs, outputs, name="clean_events")])
