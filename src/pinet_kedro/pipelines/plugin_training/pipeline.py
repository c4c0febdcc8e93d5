"""`kedro run --pipeline=plugin_training`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.plugin_training.nodes import (
    build_scorers,
    describe_plugins,
    plug,
    plug_backbone,
    plug_without_backbone,
)


def create_pipeline() -> Pipeline:
    """Plugins on the backbone give PIN; plugins on the base are the ablation that could embarrass it."""
    data = ["sequences", "split", "params:plugin_training"]
    given = ["scorers", *data]
    base = ["base_plugins_model", "base_shared_plugin_model"]
    return Pipeline(
        [
            node(build_scorers, ["base_model", *data], "scorers", name="build_scorers"),
            node(plug, ["base_model", *given], base, name="plug_base"),
            node(
                plug_backbone,
                ["backbone_model", *given, "base_model", *base],
                ["pin_model", "backbone_shared_plugin_model"],
                name="plug_backbone",
            ),
            node(plug_without_backbone, ["base_model", *given], "plugins_alone_model", name="plug_without_backbone"),
            node(describe_plugins, "pin_model", ["plugins", "plugin_weights_figure"], name="describe_plugins"),
        ]
    )
