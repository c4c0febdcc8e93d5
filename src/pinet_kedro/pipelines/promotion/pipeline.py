"""`kedro run --pipeline=promotion`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.promotion.nodes import promote
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """Challenger and champion on the stored data -> the decision and its page."""
    inputs = ["dataset", "dataset_manifest", "params:promotion", "run_info"]
    outputs = ["promotion", "promotion_page"]
    return Pipeline([node(promote, inputs, outputs, name="promote_challenger", tags=AS_STORED)])
