"""`kedro run --pipeline=plugin_training`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.plugin_training.nodes import (
    build_scorers,
    describe_plugins,
    fit_plugins,
    fit_plugins_alone,
)


def create_pipeline() -> Pipeline:
    """Plugins on the deconfounded model give PIN; plugins on the base are the most important ablation."""
    data = ["dataset", "params:plugin_training"]
    return Pipeline(
        [
            node(build_scorers, ["base_model", *data], "scorers", name="build_scorers"),
            node(
                fit_plugins,
                ["base_model", "deconfounded_model", "scorers", *data],
                ["pin_model", "base_plugins_model", "base_shared_plugin_model"],
                name="fit_plugins",
            ),
            node(fit_plugins_alone, ["base_model", "scorers", *data], "plugins_alone_model", name="fit_plugins_alone"),
            node(describe_plugins, "pin_model", ["plugins", "plugin_weights_figure"], name="describe_plugins"),
        ]
    )
