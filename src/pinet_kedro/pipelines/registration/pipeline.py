"""`kedro run --pipeline=registration`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.registration.nodes import register
from pinet_kedro.pipelines.tags import AS_STORED


def create_pipeline() -> Pipeline:
    """The model that ships becomes a version with the alias `challenger`."""
    # The report is an input, so that it is written before an unavailable registry can end the run.
    inputs = ["shipped_model", "refit_pin_model", "shipped_manifest", "evaluation", "report", "run_info"]
    return Pipeline([node(register, inputs, "registered_version", name="register_model", tags=AS_STORED)])
