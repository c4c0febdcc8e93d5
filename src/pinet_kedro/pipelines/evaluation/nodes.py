"""Adapters of `evaluation` to the catalog."""

from functools import partial
from typing import Any

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import Figure, Manifest, NoModel, Recommender
from pinet_kedro.tracking.run_info import RunInfo


def rank_targets(dataset: Dataset, **models: Recommender | NoModel) -> pd.DataFrame:
    """Rank of every test target for every trained model, one row each: `model, user, rank, candidates`."""
    from pinet_kedro.evaluation.ranks import rank_models
    from pinet_kedro.pipelines.at_once import at_once, processes_for_ranks
    from pinet_kedro.recommender import NoModel

    trained = {name: model for name, model in models.items() if not isinstance(model, NoModel)}
    processes = processes_for_ranks(dataset, len(trained))
    return rank_models(trained, dataset, processes, partial(at_once, processes))


def evaluate(
    ranks: pd.DataFrame,
    manifest: Manifest,
    dataset: Dataset,
    cleaning: pd.DataFrame,
    parameters: dict[str, Any],
    **chosen: Any,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The evaluation as `evaluation.json` stores it, and its metrics as a table.

    `chosen`: the backbone on which PIN stands (`backbone`), and the plugin of every stratum (`plugins`).
    `lineage` has the sha256 of the ranks and of all stored datasets from which they were made.
    """
    from pinet_kedro.evaluation.comparison import (
        compare,
        compare_as_shipped,
        describe_data,
        describe_protocol,
        metrics_table,
    )
    from pinet_kedro.parameters import plain
    from pinet_kedro.provenance import versions

    evaluation = {
        **compare(ranks, dataset),
        "as_shipped": compare_as_shipped(ranks, dataset),
        "backbone_choice": chosen["backbone"].model_dump(mode="json"),
        "plugins": list(chosen["plugins"]["choice"]),
        "protocol": describe_protocol(dataset.strata, plain(parameters)),
        "data": describe_data(dataset, cleaning),
        "versions": versions(),
        "lineage": manifest.contents(),
    }
    return evaluation, metrics_table(evaluation)


def draw_results(evaluation: dict[str, Any]) -> tuple[Figure, Figure]:
    """Figures of the gains over the base with intervals, and of NDCG@10 by quintile of activeness."""
    from pinet_kedro.figures.results import gains_figure, quintiles_figure

    return gains_figure(evaluation), quintiles_figure(evaluation)


def show_examples(
    dataset: Dataset, users: pd.DataFrame, items: pd.DataFrame, ranks: pd.DataFrame, base: Recommender,
    pin: Recommender,
) -> list[dict[str, Any]]:  # fmt: skip
    """Six users with what base and PIN offer them, and why."""
    from pinet_kedro.inspection.examples import show_examples

    return show_examples(dataset, users["user_id"], items, ranks, base, pin)


def write_report(
    evaluation: dict[str, Any],
    cleaning: pd.DataFrame,
    parameters: dict[str, Any],
    run: RunInfo,
    examples: list[dict[str, Any]],
    **figures: Figure,
) -> str:
    """The report page."""
    from pinet_kedro.parameters import plain
    from pinet_kedro.reporting.report import render_report

    return render_report(evaluation, figures, cleaning, plain(parameters), run.facts, examples)
