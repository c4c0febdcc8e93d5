"""Adapters of the life of a model to the catalog: partitions, drift, start, registration, decision."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split, Splitting
from pinet_kedro.pipelines.types import Drift, Intake, Manifest, Recommender, Reign, Start
from pinet_kedro.registry.promotion_config import Promotion
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import Delivery, work_key
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.training.config import BackboneTraining

_Partitions = dict[str, Callable[[], pd.DataFrame]]


def take_in(delivery: Delivery, config: Retraining) -> tuple[dict[str, pd.DataFrame], Intake]:
    """Events of the new partitions that are good, by id, and the account of all new ones."""
    from pinet_kedro.retraining.intake import take_in

    return take_in(delivery, config)


def gather(accepted: _Partitions, intake: Intake) -> Interactions:
    """Raw events of all partitions, those of earlier runs included."""
    from pinet_kedro.retraining.intake import gather

    return gather(accepted, list(intake.partitions))


def read_champion(registry: Tracking) -> Reign:
    """The champion, or none."""
    from pinet_kedro.retraining.champion import read_champion

    return read_champion(registry)


def measure_drift(reign: Reign, accepted: _Partitions, intake: Intake) -> Drift:
    """Drift of the new partitions against the training data of the champion."""
    from pinet_kedro.retraining.round import measure

    return measure(reign.champion, accepted, intake)


def plan(
    reign: Reign, sequences: Sequences, split: Split, items: pd.DataFrame, training: BackboneTraining,
    splitting: Splitting, config: Retraining,
) -> Start:  # fmt: skip
    """Where training starts, and its budget."""
    from pinet_kedro.retraining.round import plan

    return plan(reign.champion, sequences, split, items, training, splitting, config)


def effective(parameters: dict[str, Any], start: Start) -> dict[str, Any]:
    """The parameters as they hold for this run."""
    return {**parameters, "backbone_training": start.config, "splitting": start.splitting}


def register(
    model: Recommender, manifest: Manifest, evaluation: dict[str, Any], registry: Tracking, sequences: Sequences,
    split: Split, intake: Intake, start: Start, parameters: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Name, number, alias and run of the registered version."""
    from pinet_kedro.retraining.round import register, trained_until

    key = work_key(intake.partitions, parameters)
    return register(model, manifest, evaluation, registry, intake, start, trained_until(sequences, split), key)


def promote(
    sequences: Sequences, split: Split, strata: ReportingStrata, items: pd.DataFrame, manifest: Manifest,
    config: Promotion, registry: Tracking, registered: dict[str, Any], start: Start,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The decision on the version that this run has registered, and its page."""
    from pinet_kedro.pipelines.promotion.nodes import promote

    mine = config.model_copy(update={"version": int(registered["version"])})
    notes = () if start.seen is None else (f"{start.seen}, which flatters it",)
    return promote(sequences, manifest, split, strata, items, mine, registry, notes)


def conclude(
    intake: Intake, drift: Drift, start: Start, sequences: Sequences, promotion: dict[str, Any],
    report: str,  # noqa: ARG001  nothing of the round is missing when its partitions count as taken
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The round as `retraining.json` stores it, and its page."""
    from pinet_kedro.registry.decision import Decision
    from pinet_kedro.retraining.page import render_round
    from pinet_kedro.retraining.round import Round

    done = Round(
        intake=intake, drift=drift, start=start.why, epochs=start.config.schedule.epochs,
        events=len(sequences.items), promotion=Decision.model_validate(promotion),
    )  # fmt: skip
    return done.model_dump(mode="json"), render_round(done)
