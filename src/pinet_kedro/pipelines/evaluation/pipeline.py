"""`kedro run --pipeline=evaluation`."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.evaluation.nodes import draw_results, evaluate, rank_targets, write_report

MODELS = [
    "base_model", "backbone_model", "plugins_alone_model",
    "base_shared_plugin_model", "base_plugins_model", "pin_model",
]  # fmt: skip
FIGURES = [
    "long_tail_figure", "learning_curves_figure", "stratum_weights_figure", "plugin_weights_figure", "gains_figure",
    "quintiles_figure",
]  # fmt: skip


def create_pipeline(parameters: str = "parameters") -> Pipeline:
    """Ranks of every model on the test targets -> metrics by stratum with intervals -> the report page.

    `parameters`: the dataset of those that hold for the run.
    """
    return Pipeline(
        [
            node(
                rank_targets,
                {"sequences": "sequences", "split": "split", **{m: m for m in MODELS}},
                "ranks",
                name="rank_targets",
            ),
            node(
                evaluate,
                ["ranks", "ranks_manifest", "sequences", "split", "strata", "items", "cleaning_report", parameters],
                ["evaluation", "metrics"],
                name="evaluate",
            ),
            node(draw_results, "evaluation", ["gains_figure", "quintiles_figure"], name="draw_results"),
            node(
                write_report,
                {"evaluation": "evaluation", "cleaning": "cleaning_report", "parameters": parameters}
                | {figure: figure for figure in FIGURES},
                "report",
                name="write_report",
            ),
        ]
    )
