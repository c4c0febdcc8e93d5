"""`kedro run --pipeline=refit`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.refit.nodes import plan_refit, refit_before_test, refit_on_everything


def create_pipeline(start: str | None = None) -> Pipeline:
    """Base and PIN go on learning: until the test part, to measure what that is worth, and PIN until the end, to ship.

    `start`: as in `backbone_training`.
    """
    settings = ["params:backbone_training", "params:registration", "backbone_choice", *([start] if start else [])]
    data = ["dataset", "refit_plan"]
    return Pipeline(
        [
            node(plan_refit, settings, "refit_plan", name="plan_refit"),
            node(
                refit_before_test,
                ["base_model", "pin_model", *data],
                ["refit_base_model", "refit_pin_model"],
                name="refit_before_test",
            ),
            node(refit_on_everything, ["pin_model", *data], "shipped_model", name="refit_on_everything"),
        ]
    )
