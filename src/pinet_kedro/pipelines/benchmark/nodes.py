"""Adapters of `studies.benchmark` to the catalog."""

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Figure
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.benchmark.config import Benchmark
from pinet_kedro.training.config import BackboneTraining


def run_cells(dataset: Dataset, config: Benchmark, training: BackboneTraining, plugins: PluginTraining) -> pd.DataFrame:
    """Ranks of every cell, including those of earlier runs.

    Each cell is stored in the folder `benchmark.folder` as soon as it is done, so that a stopped benchmark can go on.
    """
    from pinet_kedro.project import project_folder
    from pinet_kedro.studies.benchmark.bench import Bench, cells

    todo = cells(config, training, plugins)
    return Bench(dataset, project_folder() / config.folder).run(todo, config.workers)


def tabulate(ranks: pd.DataFrame, dataset: Dataset, config: Benchmark) -> tuple[pd.DataFrame, Figure, Figure]:
    """The table, the forest plot of head against tail, and the Pareto plot."""
    from pinet_kedro.figures.studies import benchmark_forest_figure, benchmark_pareto_figure
    from pinet_kedro.studies.benchmark.table import benchmark_table

    table = benchmark_table(ranks, dataset, config.reference, config.metrics)
    drawn = table[table["metric"] == config.metrics[0]]
    return table, benchmark_forest_figure(drawn), benchmark_pareto_figure(drawn)


def show_benchmark(forest: Figure, pareto: Figure) -> str:
    """The page of both figures."""
    from pinet_kedro.reporting.page import render_figures

    return render_figures("Benchmark of methods", {"forest": forest, "pareto": pareto}, home="index.html")
