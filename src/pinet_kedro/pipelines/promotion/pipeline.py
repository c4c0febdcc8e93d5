"""`kedro run --pipeline=promotion`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.promotion.nodes import judge_validation, promote
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """Challenger and champion on the stored data -> the decision and its page."""
    return Pipeline(
        [
            node(
                judge_validation,
                ["dataset", "dataset_manifest", "validation_results"],
                "validation_gate",
                name="judge_validation",
                tags=AS_STORED,
            ),
            node(
                promote,
                ["dataset", "validation_gate", "params:promotion", "run_info"],
                ["promotion", "promotion_page"],
                name="promote_challenger",
                tags=AS_STORED,
            ),
        ]
    )
