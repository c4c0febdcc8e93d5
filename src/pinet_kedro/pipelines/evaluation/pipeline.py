"""`kedro run --pipeline=evaluation`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.evaluation.nodes import draw_results, evaluate, rank_targets, show_examples, write_report

# Names of the models in the results, and their datasets. A model that is not configured has no rows.
MODELS = {
    "base": "base_model",
    "backbone": "deconfounded_model",
    "plugins_alone": "plugins_alone_model",
    "base_shared_plugin": "base_shared_plugin_model",
    "base_plugins": "base_plugins_model",
    "backbone_plugins": "deconfounded_plugins_model",
    "pin": "pin_model",
    "refit_base": "refit_base_model",
    "refit_pin": "refit_pin_model",
}
FIGURES = [
    "long_tail_figure", "learning_curves_figure", "stratum_weights_figure", "plugin_weights_figure", "gains_figure",
    "quintiles_figure",
]  # fmt: skip


def create_pipeline(parameters: str = "parameters") -> Pipeline:
    """Ranks of every model on the test targets -> metrics by stratum with intervals -> the report page.

    `parameters`: the dataset with the parameters of the run.
    """
    return Pipeline(
        [
            node(rank_targets, {"dataset": "dataset", **MODELS}, "ranks", name="rank_targets"),
            node(
                evaluate,
                {"ranks": "ranks", "manifest": "ranks_manifest", "dataset": "dataset", "cleaning": "cleaning_report"}
                | {"parameters": parameters, "backbone": "backbone_choice", "plugins": "plugins"},
                ["evaluation", "metrics"],
                name="evaluate",
            ),
            node(draw_results, "evaluation", ["gains_figure", "quintiles_figure"], name="draw_results"),
            node(
                show_examples,
                ["dataset", "users", "items", "ranks", "base_model", "pin_model"],
                "examples",
                name="show_examples",
            ),
            node(
                write_report,
                {"evaluation": "evaluation", "cleaning": "cleaning_report", "parameters": parameters, "run": "run_info"}
                | {name: name for name in ("examples", *FIGURES)},
                "report",
                name="write_report",
            ),
        ]
    )
