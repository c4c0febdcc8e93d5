"""`kedro run --pipeline=backbone_training`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.backbone_training.nodes import draw_curves, train_backbones


def create_pipeline(start: str | None = None) -> Pipeline:
    """Two models that differ only in the aggregation of gradients; without an aggregation, the base alone.

    `start`: the dataset with the initial weights and the budget of both; None: new weights.
    """
    inputs = ["dataset", "params:backbone_training", "run_info", *([start] if start else [])]
    curves = ["base_curve", "deconfounded_curve"]
    outputs = ["base_model", "base_curve", "deconfounded_model", "deconfounded_curve"]
    return Pipeline(
        [
            node(train_backbones, inputs, outputs, name="train_backbones"),
            node(draw_curves, curves, ["learning_curves_figure", "stratum_weights_figure"], name="draw_curves"),
        ]
    )
