"""Refit: a validated model goes on learning, from the events on which it was validated, or from the whole log.

What was chosen on validation targets stays: the configuration, the strata, the settings of the memory and the weights
of the plugins. What is estimated from events is estimated again, from more of them: the backbone is trained on from its
weights for a small share of the schedule, and the frozen scorers are built anew.
"""

from dataclasses import replace
from typing import Literal

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.fitting.choice import BackboneChoice
from pinet_kedro.fitting.scorers import fit_others
from pinet_kedro.plugins.memory import build_memory
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.recommender import Recommender, new_recommender
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

# Chosen by validation one event earlier, on Amazon Beauty: 8 of 30 epochs at the full learning rate were better than
# fewer epochs or a lower rate, and within 1.5 % of training from scratch.
_SHARE_OF_EPOCHS = 0.25
# A moving average over more steps would still hold much of the old weights at the end of so short a training.
_LONGEST_AVERAGE = 0.98


def plan_refit(
    config: BackboneTraining, choice: BackboneChoice, wanted: Literal["all", "none"]
) -> dict[str, BackboneTraining]:
    """The trainings of the backbones of `base` and `pin` in a refit; empty: there is none.

    Both were trained with `config`, PIN on the backbone that was chosen.
    """
    if wanted == "none":
        return {}
    again = refit_training(config)
    return {"base": again.joint(), "pin": again.joint() if choice.backbone == "joint" else again}


def before_test(dataset: Dataset) -> Dataset:
    """The data with everything before the test part for training, and no targets."""
    return replace(dataset, split=dataset.split.learning(dataset.split.test_from))


def whole_log(dataset: Dataset) -> Dataset:
    """The data with all events for training, and no targets."""
    return replace(dataset, split=dataset.split.learning(dataset.sequences.lengths))


def refit_training(config: BackboneTraining) -> BackboneTraining:
    """The training of a backbone in a refit: a quarter of the epochs, and an average over fewer steps."""
    schedule = config.schedule
    shorter = schedule.model_copy(
        update={
            "epochs": max(1, round(_SHARE_OF_EPOCHS * schedule.epochs)),
            "weight_average": min(schedule.weight_average, _LONGEST_AVERAGE),
        }
    )
    return config.model_copy(update={"schedule": shorter})


def rebuilt(model: Recommender, backbone: Backbone, learnt: Dataset) -> Recommender:
    """The model with this backbone, and with popularity and frozen scorers of these data; its plugins stay."""
    alone = replace(new_recommender(backbone, learnt), strata=model.strata)
    if model.plugins is None:
        return alone
    scorers = model.plugins.scorers
    others = fit_others(learnt, {name: scorer.config for name, scorer in scorers.others.items()})
    others = {name: others[name] for name in scorers.others}  # as the plugins weigh them
    again = FrozenScorers(build_memory(learnt, scorers.memory.config), others, alone.popularity)
    return replace(alone, plugins=replace(model.plugins, scorers=again))


def refit(model: Recommender, learnt: Dataset, config: BackboneTraining) -> Recommender:
    """The model after it has learnt the training events of `learnt` (`before_test`, `whole_log`).

    `config` is that of its own training.
    """
    return rebuilt(model, train_backbone(learnt, refit_training(config), start=model.backbone), learnt)
