"""`kedro run --pipeline=backbone_training`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.backbone_training.nodes import draw_curves, train_base, train_deconfounded


def create_pipeline(start: str | None = None) -> Pipeline:
    """Two backbones that differ in nothing but the aggregation of gradients; one where none is configured.

    `start`: the dataset that says where both start and on which budget; without one, from fresh weights.
    """
    data = ["sequences", "split", "strata", "items", "params:backbone_training"]
    begin = [start] if start else []
    return Pipeline(
        [
            node(train_base, [*data, *begin], ["base_model", "base_curve"], name="train_base"),
            node(
                train_deconfounded,
                [*data, "base_model", *begin],
                ["backbone_model", "backbone_curve"],
                name="train_backbone",
            ),
            node(
                draw_curves,
                ["base_curve", "backbone_curve"],
                ["learning_curves_figure", "stratum_weights_figure"],
                name="draw_curves",
            ),
        ]
    )
