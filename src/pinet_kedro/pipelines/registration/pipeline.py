"""`kedro run --pipeline=registration`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.registration.nodes import collect, register
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """The model that ships becomes a version with the alias `challenger`."""
    # The report is an input, so that it is written before an unavailable registry can end the run.
    inputs = ["version_models", "shipped_manifest", "evaluation", "report", "run_info"]
    return Pipeline(
        [
            node(
                collect,
                ["shipped_model", "refit_pin_model", "users", "dataset", "params:two_stage"],
                "version_models",
                name="collect_version",
                tags=AS_STORED,
            ),
            node(register, inputs, "registered_version", name="register_model", tags=AS_STORED),
        ]
    )
