"""`kedro run --pipeline=activeness_stratification`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.interactions.split import split_sequences
from pinet_kedro.pipelines.activeness_stratification.nodes import index_events, stratify


def create_pipeline() -> Pipeline:
    """Events -> sequences -> split -> strata fitted on the training part alone."""
    return Pipeline(
        [
            node(index_events, "clean_events", ["sequences", "user_ids", "item_ids"], name="index_events"),
            node(
                split_sequences,
                ["sequences", "params:splitting", "params:exclude_seen"],
                "split",
                name="split_sequences",
            ),
            node(
                stratify,
                ["sequences", "split", "user_ids", "item_ids", "params:stratification"],
                ["strata", "users", "items", "long_tail_figure"],
                name="stratify_users",
            ),
        ]
    )
