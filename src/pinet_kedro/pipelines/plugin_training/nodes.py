"""Adapters of `fitting` to the catalog."""

from dataclasses import replace
from functools import partial

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import BackboneChoice, Figure, FrozenScorers, NoModel, Recommender
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.registry.registration_config import Registration


def build_scorers(model: Recommender, dataset: Dataset, config: PluginTraining) -> FrozenScorers:
    """The frozen scorers that all plugins weigh beside a backbone."""
    from pinet_kedro.fitting.scorers import build_scorers

    return build_scorers(dataset, model.popularity, config)


def choose_backbone(
    base: Recommender, deconfounded: Recommender | NoModel, scorers: FrozenScorers, dataset: Dataset,
    config: PluginTraining, registration: Registration,
) -> BackboneChoice:  # fmt: skip
    """Whether PIN stands on the deconfounded backbone or on the joint one, and why."""
    from pinet_kedro.fitting.choice import choose_backbone
    from pinet_kedro.pipelines.at_once import at_once, processes_for_fits
    from pinet_kedro.recommender import NoModel

    other = None if isinstance(deconfounded, NoModel) else deconfounded.backbone
    spread = partial(at_once, processes_for_fits(dataset, config, fits=2))
    return choose_backbone((base.backbone, other), dataset, scorers, config, registration.backbone, spread)


def fit_plugins(
    base: Recommender, deconfounded: Recommender | NoModel, scorers: FrozenScorers, dataset: Dataset,
    config: PluginTraining, choice: BackboneChoice,
) -> tuple[Recommender, Recommender | NoModel, Recommender | NoModel, Recommender]:  # fmt: skip
    """PIN; base and deconfounded model with a plugin for every stratum; the base with one plugin for all.

    The one of the two that is PIN is stored only as PIN.
    """
    from pinet_kedro.recommender import NoModel

    pin = NoModel("it is PIN")
    if isinstance(deconfounded, NoModel):
        [(base_plugins, base_shared)] = _plug([base], scorers, dataset, config)
        return base_plugins, pin, deconfounded, base_shared
    (base_plugins, base_shared), (deconfounded_plugins, _) = _plug([base, deconfounded], scorers, dataset, config)
    if choice.backbone == "joint":
        return base_plugins, pin, deconfounded_plugins, base_shared
    return deconfounded_plugins, base_plugins, pin, base_shared


def fit_plugins_alone(
    base: Recommender, scorers: FrozenScorers, dataset: Dataset, config: PluginTraining
) -> Recommender:
    """Plugins by stratum that ignore the scores of the backbone."""
    alone = config.model_copy(update={"kind": "logit_space", "backbone": False})
    return _plug([base], scorers, dataset, alone)[0][0]


def _plug(
    models: list[Recommender], scorers: FrozenScorers, dataset: Dataset, config: PluginTraining
) -> list[tuple[Recommender, Recommender]]:
    """Each model with a plugin for every stratum, and with one plugin for all."""
    from pinet_kedro.fitting.plugin import fit_plugins
    from pinet_kedro.pipelines.at_once import at_once, processes_for_fits

    calls = [partial(fit_plugins, model.backbone, dataset, scorers, config) for model in models]
    fitted = at_once(processes_for_fits(dataset, config, fits=len(models)), calls)
    # Plugins from another process have a copy of the scorers.
    own, shared = ([replace(plugins, scorers=scorers) for plugins in of_all] for of_all in zip(*fitted, strict=True))
    return [
        (replace(model, plugins=one), replace(model, plugins=other))
        for model, one, other in zip(models, own, shared, strict=True)
    ]


def describe_plugins(model: Recommender) -> tuple[pd.DataFrame, Figure]:
    """The plugin of every stratum, as a table and a figure."""
    from pinet_kedro.figures.training import plugin_weights_figure

    assert model.plugins is not None
    labels = model.strata.training.labels()
    table = pd.DataFrame(
        {"stratum": range(1, len(labels) + 1), "label": labels, "choice": list(model.plugins.choice)}
    ).join(model.plugins.weights())
    return table, plugin_weights_figure(table)
