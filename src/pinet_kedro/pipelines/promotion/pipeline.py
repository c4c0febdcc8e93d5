"""`kedro run --pipeline=promotion`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.promotion.nodes import promote


def create_pipeline() -> Pipeline:
    """Challenger and champion on the stored data -> the decision and its page."""
    inputs = ["dataset", "dataset_manifest", "params:promotion", "run_info"]
    return Pipeline([node(promote, inputs, ["promotion", "promotion_page"], name="promote_challenger")])
