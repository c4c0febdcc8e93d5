"""`kedro run --pipeline=batch_inference`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.batch_inference.nodes import recommend
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """A registered version and the stored histories -> recommendations for every user."""
    inputs = ["dataset", "users", "params:batch_inference", "params:tracking"]
    return Pipeline([node(recommend, inputs, "recommendations", name="recommend_to_all", tags=AS_STORED)])
