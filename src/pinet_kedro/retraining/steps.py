"""The steps of retraining: where training starts, which version it becomes, and what an interrupted run left."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.manifests import MANIFEST_FILE, Manifest
from pinet_kedro.evaluation.drift import Drift, measure_drift, size
from pinet_kedro.interactions.split import Splitting
from pinet_kedro.promotion.decision import PROMOTED, Decision
from pinet_kedro.registry.aliases import CHAMPION
from pinet_kedro.reporting.text import day
from pinet_kedro.retraining.champion import (
    KEY,
    PARTITIONS_FILE,
    SPLIT,
    START,
    TRAINED_ON,
    Champion,
    aliases,
    reached,
    version_of,
)
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.intake import Intake, gather
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.warm_start import carry_over

if TYPE_CHECKING:
    from pinet_kedro.backbones.backbone import Backbone
    from pinet_kedro.recommender import Recommender
    from pinet_kedro.registry.loading import VersionModels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingStart:
    """Where training starts, its budget, and how events are held out.

    `backbone` is None for fresh weights; `why` is the reason as a sentence. `seen` is the reason why the champion may
    have learnt from events that are held out now, None if it cannot have.
    """

    why: str
    config: BackboneTraining
    splitting: Splitting
    backbone: "Backbone | None" = None
    seen: str | None = None


class RetrainingSummary(Stored):
    """One run of retraining, as `data/08_reporting/retraining.json` holds it."""

    intake: Intake
    drift: Drift
    start: str
    epochs: int
    events: int = Field(description="clean events, of all partitions")
    promotion: Decision


def measure(champion: Champion | None, accepted: Mapping[str, Callable[[], pd.DataFrame]], intake: Intake) -> Drift:
    """Drift of the new partitions against those that the champion was trained on; what is missing if it is unknown."""
    window = gather(accepted, intake.new).events
    if champion is None:
        return Drift(window=size(window), missing=("there is no champion yet: nothing to drift from",))
    version = f"version {champion.version}"
    if champion.partitions is None:
        why = f"{version} was not made by retraining: its training events are not known"
        return Drift(model=champion.version, window=size(window), missing=(why,))
    kept = [name for name in champion.partitions if name in accepted and name not in intake.new]
    if not kept:
        why = f"none of the partitions that {version} was trained on is kept here"
        return Drift(model=champion.version, window=size(window), missing=(why,))
    tags = {group: champion.tags.get(f"{group}.ndcg_at_10") for group in ("head", "tail")}
    then = {group: float(ndcg) for group, ndcg in tags.items() if ndcg is not None}
    return measure_drift(champion.models.served, champion.version, gather(accepted, kept).events, window, then)


def choose_start(
    champion: Champion | None,
    dataset: Dataset,
    training: BackboneTraining,
    splitting: Splitting,
    config: Retraining,
) -> TrainingStart:
    """Warm from the champion's backbone; cold if configured, or if the champion may have seen the held-out events.

    After a refit the champion has two backbones: the one that it serves is taken if it cannot have seen them, or else
    the one that was judged.
    """
    model, seen = (None, None) if champion is None else _unseen(champion, dataset, splitting)
    why = _cold(champion, training, config) or seen
    if why is not None or champion is None or model is None:
        log.info("Training starts cold: %s", why)
        return TrainingStart(f"cold: {why}", training, splitting, seen=seen)
    epochs = max(1, round(config.warm_epochs * training.schedule.epochs))
    shorter = training.model_copy(update={"schedule": training.schedule.model_copy(update={"epochs": epochs})})
    backbone = carry_over(model.backbone, model.item_ids.tolist(), dataset.item_ids.tolist(), training.seed)
    why = f"from version {champion.version}, {epochs} epochs instead of {training.schedule.epochs}"
    log.info("Training starts warm: %s", why)
    return TrainingStart(f"warm: {why}", shorter, splitting, backbone)


def _cold(champion: Champion | None, training: BackboneTraining, config: Retraining) -> str | None:
    """The reason for fresh weights that does not depend on what the champion has learnt from; None if there is none."""
    if config.start == "cold":
        return "as configured (retraining.start)"
    if champion is None:
        return "there is no champion yet"
    if champion.models.served.backbone.config != training.backbone:
        return f"the backbone of version {champion.version} is configured otherwise"
    return None


def _unseen(champion: Champion, dataset: Dataset, splitting: Splitting) -> "tuple[Recommender | None, str | None]":
    """The champion's model that has learnt no event that is held out now; None, and the reason, if it may have."""
    models = champion.models
    if splitting.rule == champion.tags.get(SPLIT) == "leave_one_out":
        return (
            models.judged or models.served,
            None,
        )  # histories only grow: no user's last event was learnt
    if (model := models.unseen(dataset.first_target)) is not None:
        return model, None
    until = models.served_until if models.judged is None else models.judged_until
    if until is None:
        unknown = f"it is not known until when version {champion.version} has learnt"
        return None, f"{unknown}, so it may have seen what is held out now"
    return None, f"version {champion.version} has learnt from events until {day(until)}, some of them held out now"


@dataclass(frozen=True)
class TrainingRecord:
    """What a version that retraining registers records of its training: as tags, and its partitions as a file.

    `key` names the work: the partitions and the parameters.
    """

    key: str
    start: str
    split: str
    partitions: dict[str, str]

    def tags(self) -> dict[str, str]:
        """By the names that `retraining.champion` reads."""
        names = sorted(self.partitions)
        trained_on = f"{len(names)}: {names[0]} … {names[-1]}"[:4000]
        return {KEY: self.key, START: self.start, SPLIT: self.split, TRAINED_ON: trained_on}


def record_training(intake: Intake, start: TrainingStart, key: str) -> TrainingRecord:
    """The record of a training."""
    return TrainingRecord(key, start.why, start.splitting.rule, intake.partitions)


def register(
    models: "VersionModels",
    manifest: Manifest,
    evaluation: dict[str, Any],
    record: TrainingRecord,
    registry: Tracking,
    run_id: str | None,
) -> dict[str, Any]:
    """As `registry.register_model`; a version that an interrupted run of this work has left is taken over."""
    from pinet_kedro.registry.registration import challenge, register_model

    with reached(registry):
        found = version_of(tracking.connect(registry), registry.model, record.key, record.start)
        if found is not None:
            log.info("Version %s was registered by a run that was interrupted; it is taken over.", found.version)
            return challenge(registry, str(found.version), found.run_id)
        files = {PARTITIONS_FILE: record.partitions, MANIFEST_FILE: manifest.model_dump(mode="json")}
        return register_model(models, evaluation, registry, record.tags() | manifest.tags(), files, run_id)


def finished_before(registry: Tracking, key: str) -> str | None:
    """The version that an interrupted run of the same work has made the champion; None if there is none."""
    with reached(registry):
        client = tracking.connect(registry)
        found = version_of(client, registry.model, key)
        if found is None or found.tags.get("decision") != PROMOTED:
            return None
        return str(found.version) if aliases(client, registry.model).get(CHAMPION) == str(found.version) else None
