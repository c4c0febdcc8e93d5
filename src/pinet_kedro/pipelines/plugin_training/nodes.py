"""Adapters of `training.plugin` to the catalog."""

from dataclasses import replace

import pandas as pd

from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.pipelines.types import Figure, FrozenScorers, Recommender
from pinet_kedro.plugins.config import PluginTraining


def build_scorers(model: Recommender, sequences: Sequences, split: Split, config: PluginTraining) -> FrozenScorers:
    """What all plugins weigh beside a backbone."""
    from pinet_kedro.training.scorers import build_scorers

    return build_scorers(sequences, split, model.popularity, config)


def plug(
    model: Recommender, scorers: FrozenScorers, sequences: Sequences, split: Split, config: PluginTraining
) -> tuple[Recommender, Recommender]:
    """The model with a plugin for every stratum, and with one plugin for all."""
    from pinet_kedro.training.plugin import fit_plugins

    own, shared = fit_plugins(model.backbone, sequences, split, model.strata, scorers, config)
    return replace(model, plugins=own), replace(model, plugins=shared)


def plug_backbone(
    model: Recommender, scorers: FrozenScorers, sequences: Sequences, split: Split, config: PluginTraining,
    base: Recommender, base_plugins: Recommender, base_shared: Recommender,
) -> tuple[Recommender, Recommender]:  # fmt: skip
    """As `plug`, for the backbone of the configured aggregation; the base's where that is the base itself."""
    if model.shares_evidence(base):
        return base_plugins, base_shared
    return plug(model, scorers, sequences, split, config)


def plug_without_backbone(
    model: Recommender, scorers: FrozenScorers, sequences: Sequences, split: Split, config: PluginTraining
) -> Recommender:
    """Plugins by stratum that leave the backbone's scores out."""
    alone = config.model_copy(update={"kind": "logit_space", "backbone": False})
    return plug(model, scorers, sequences, split, alone)[0]


def describe_plugins(model: Recommender) -> tuple[pd.DataFrame, Figure]:
    """What every stratum's plugin is, as a table and a figure."""
    from pinet_kedro.reporting.figures.training import plugin_weights_figure

    assert model.plugins is not None
    labels = model.strata.training.labels()
    table = pd.DataFrame(
        {"stratum": range(1, len(labels) + 1), "label": labels, "choice": list(model.plugins.choice)}
    ).join(model.plugins.weights())
    return table, plugin_weights_figure(table)
