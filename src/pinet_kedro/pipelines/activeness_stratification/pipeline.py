"""`kedro run --pipeline=activeness_stratification`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.activeness_stratification.nodes import build_dataset, describe_items, describe_users


def create_pipeline(splitting: str = "params:splitting") -> Pipeline:
    """Clean events -> the dataset that every later stage reads -> its users as a table and a figure, its items.

    `splitting`: the dataset or parameters with the split.
    """
    parameters = [splitting, "params:exclude_seen", "params:stratification", "params:cleaning"]
    return Pipeline(
        [
            node(
                build_dataset,
                ["clean_events", "item_metadata", *parameters],
                ["dataset", "user_ids"],
                name="build_dataset",
            ),
            node(describe_users, ["dataset", "user_ids"], ["users", "long_tail_figure"], name="describe_users"),
            node(describe_items, ["dataset", "item_metadata"], "items", name="describe_items"),
        ]
    )
