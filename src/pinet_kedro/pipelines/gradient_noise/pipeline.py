"""`kedro run --pipeline=gradient_noise --env=<dataset>`: prepares the data, then trains the base and measures."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.gradient_noise.nodes import draw, measure


def create_pipeline() -> Pipeline:
    """Tables and figure; `pipeline_registry` adds the preparation of the data."""
    parameters = ["params:backbone_training", "params:gradient_noise"]
    return Pipeline(
        [
            node(
                measure,
                ["dataset", *parameters, "run_info"],
                ["gradient_noise", "gradient_noise_pairs"],
                name="measure_gradient_noise",
            ),
            node(draw, "gradient_noise", "gradient_noise_figure", name="draw_gradient_noise"),
        ]
    )
