"""`kedro run --pipeline=plugin_training`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.plugin_training.nodes import (
    build_scorers,
    choose_backbone,
    describe_plugins,
    fit_plugins,
    fit_plugins_alone,
)


def create_pipeline() -> Pipeline:
    """Plugins on both models. One of them is PIN, chosen on validation targets; the other is the ablation."""
    data = ["dataset", "params:plugin_training"]
    return Pipeline(
        [
            node(build_scorers, ["base_model", *data], "scorers", name="build_scorers"),
            node(
                choose_backbone,
                ["base_model", "deconfounded_model", "scorers", *data, "params:registration"],
                "backbone_choice",
                name="choose_backbone",
            ),
            node(
                fit_plugins,
                ["base_model", "deconfounded_model", "scorers", *data, "backbone_choice"],
                ["pin_model", "base_plugins_model", "deconfounded_plugins_model", "base_shared_plugin_model"],
                name="fit_plugins",
            ),
            node(fit_plugins_alone, ["base_model", "scorers", *data], "plugins_alone_model", name="fit_plugins_alone"),
            node(describe_plugins, "pin_model", ["plugins", "plugin_weights_figure"], name="describe_plugins"),
        ]
    )
