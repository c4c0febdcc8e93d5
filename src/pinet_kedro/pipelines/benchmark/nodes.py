"""Adapters of `studies.benchmark` to the catalog."""

import numpy as np
import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.pipelines.types import Figure
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.studies.benchmark.config import Benchmark
from pinet_kedro.training.config import BackboneTraining


def run_cells(
    sequences: Sequences,
    split: Split,
    strata: ReportingStrata,
    items: pd.DataFrame,
    config: Benchmark,
    training: BackboneTraining,
    plugins: PluginTraining,
) -> pd.DataFrame:
    """Ranks of every cell, those of earlier runs included."""
    from pinet_kedro.evaluation.comparison import data_hash
    from pinet_kedro.project import project_folder
    from pinet_kedro.studies.benchmark.bench import Bench, cells

    todo = cells(config, training, plugins)
    bench = Bench(sequences, split, strata, items, data_hash(sequences, items, split), project_folder() / config.folder)
    return bench.run(todo, config.workers)


def tabulate(
    ranks: pd.DataFrame, split: Split, strata: ReportingStrata, config: Benchmark
) -> tuple[pd.DataFrame, Figure, Figure]:
    """The table, the forest plot of head against tail, and the Pareto plot."""
    from pinet_kedro.reporting.figures.studies import benchmark_forest_figure, benchmark_pareto_figure
    from pinet_kedro.studies.benchmark.table import benchmark_table

    table = benchmark_table(ranks, np.asarray(split.train_end), strata, config.reference, config.metrics)
    drawn = table[table["metric"] == config.metrics[0]]
    return table, benchmark_forest_figure(drawn), benchmark_pareto_figure(drawn)
