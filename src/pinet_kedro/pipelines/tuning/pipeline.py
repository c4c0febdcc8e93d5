"""`kedro run --pipeline=tuning --env=<dataset>`: prepares the data, then does what is missing of the study."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.tuning.nodes import (
    draw_study,
    plan_study,
    retrain_finalists,
    run_trials,
    write_environment,
    write_page,
)

FIGURES = ("history", "importances", "slices", "front")


def create_pipeline() -> Pipeline:
    """Trials -> finalists -> the tuned environment, figures and page; `pipeline_registry` prepares the data before."""
    parameters = ["params:tuning", "params:backbone_training", "params:plugin_training"]
    figures = [f"tuning_{name}_figure" for name in FIGURES]
    results = {
        "record": "tuning",
        "trials": "tuning_trials",
        "finalists": "tuning_finalists",
        "choice": "tuning_choice",
    }
    return Pipeline(
        [
            node(plan_study, ["dataset", *parameters], "tuning_plan", name="plan_study"),
            node(run_trials, ["tuning_plan", "run_info"], ["tuning", "tuning_trials"], name="run_trials"),
            node(
                retrain_finalists,
                ["tuning_plan", "tuning", "tuning_trials"],
                ["tuning_finalists", "tuning_choice"],
                name="retrain_finalists",
            ),
            node(
                write_environment,
                ["tuning_choice", "tuning", "parameters", "run_info"],
                ["tuned_parameters", "tuned_catalog"],
                name="write_tuned_environment",
            ),
            node(draw_study, ["tuning_plan", "tuning"], figures, name="draw_study"),
            node(
                write_page,
                results | dict(zip(FIGURES, figures, strict=True)),
                "tuning_page",
                name="write_tuning_page",
            ),
        ]
    )
