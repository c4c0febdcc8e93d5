"""`kedro run --pipeline=feedback`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.feedback.nodes import measure, show_feedback
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """Logged answers and files of interactions -> the report and its page."""
    inputs = ["new_interactions", "params:serving", "params:feedback"]
    return Pipeline(
        [
            node(measure, inputs, "feedback", name="measure_answers", tags=AS_STORED),
            node(show_feedback, "feedback", "feedback_page", name="show_feedback", tags=AS_STORED),
        ]
    )
