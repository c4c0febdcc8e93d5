"""`kedro run --pipeline=benchmark --env=<dataset>`: prepares the data, then runs the missing cells of the benchmark."""

from kedro.pipeline import Pipeline, node

from pinet_kedro.pipelines.benchmark.nodes import run_cells, show_benchmark, tabulate


def create_pipeline() -> Pipeline:
    """Cells -> ranks -> table and figures; `pipeline_registry` adds the preparation of the data."""
    parameters = ["params:benchmark", "params:backbone_training", "params:plugin_training"]
    return Pipeline(
        [
            node(run_cells, ["dataset", *parameters], "benchmark_ranks", name="run_cells"),
            node(
                tabulate,
                ["benchmark_ranks", "dataset", "params:benchmark"],
                ["benchmark_table", "benchmark_forest_figure", "benchmark_pareto_figure"],
                name="tabulate_benchmark",
            ),
            node(
                show_benchmark,
                {"forest": "benchmark_forest_figure", "pareto": "benchmark_pareto_figure"},
                "benchmark_page",
                name="show_benchmark",
            ),
        ]
    )
