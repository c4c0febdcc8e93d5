"""One round of retraining: where training starts, which version it becomes, and what an interrupted round left."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.datasets.manifests import MANIFEST_FILE, Manifest
from pinet_kedro.evaluation.drift import Drift, measure_drift, size
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split, Splitting
from pinet_kedro.registry.aliases import CHAMPION
from pinet_kedro.registry.decision import PROMOTED, Decision
from pinet_kedro.reporting.text import day
from pinet_kedro.retraining.champion import (
    KEY,
    PARTITIONS_FILE,
    SPLIT,
    START,
    TRAINED_ON,
    UNTIL,
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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where training starts, its budget and what it holds out.

    `backbone` is None for fresh weights, `why` says which and why; `seen` why the champion may have learnt from what is
    held out now, None where it cannot have.
    """

    why: str
    config: BackboneTraining
    splitting: Splitting
    backbone: "Backbone | None" = None
    seen: str | None = None


class Round(Stored):
    """One round, as `data/08_reporting/retraining.json` holds it."""

    intake: Intake
    drift: Drift
    start: str
    epochs: int
    events: int = Field(description="clean events, of all partitions")
    promotion: Decision


def measure(champion: Champion | None, accepted: Mapping[str, Callable[[], pd.DataFrame]], intake: Intake) -> Drift:
    """Drift of the new partitions against those that the champion was trained on."""
    window = gather(accepted, intake.new).events
    if champion is None:
        return Drift(window=size(window), missing=("there is no champion yet: nothing to drift from",))
    told = f"version {champion.version}"
    if champion.partitions is None:
        why = f"{told} was not made by retraining: which events it was trained on is not known"
        return Drift(model=champion.version, window=size(window), missing=(why,))
    kept = [name for name in champion.partitions if name in accepted and name not in intake.new]
    if not kept:
        why = f"none of the partitions that {told} was trained on is kept here"
        return Drift(model=champion.version, window=size(window), missing=(why,))
    tags = {group: champion.tags.get(f"{group}.ndcg_at_10") for group in ("head", "tail")}
    then = {group: float(ndcg) for group, ndcg in tags.items() if ndcg is not None}
    return measure_drift(champion.recommender, champion.version, gather(accepted, kept).events, window, then)


def trained_until(sequences: Sequences, split: Split) -> int:
    """Time of the newest event that a backbone learns from, in nanoseconds."""
    return int(sequences.timestamps[split.in_training(sequences)].max())


def plan(
    champion: Champion | None,
    sequences: Sequences,
    split: Split,
    items: pd.DataFrame,
    training: BackboneTraining,
    splitting: Splitting,
    config: Retraining,
) -> Start:
    """Warm from the champion's backbone, or cold where it is asked for or nothing else is honest."""
    seen = None if champion is None else _seen(champion, sequences, split, splitting)
    why = _cold(champion, training, config) or seen
    if why is not None or champion is None:
        log.info("Training starts cold: %s", why)
        return Start(f"cold: {why}", training, splitting, seen=seen)
    epochs = max(1, round(config.warm_epochs * training.schedule.epochs))
    shorter = training.model_copy(update={"schedule": training.schedule.model_copy(update={"epochs": epochs})})
    model = champion.recommender
    backbone = carry_over(model.backbone, model.item_ids.tolist(), items["item_id"].tolist(), training.seed)
    why = f"from version {champion.version}, {epochs} epochs instead of {training.schedule.epochs}"
    log.info("Training starts warm: %s", why)
    return Start(f"warm: {why}", shorter, splitting, backbone)


def _cold(champion: Champion | None, training: BackboneTraining, config: Retraining) -> str | None:
    """Why training cannot, or shall not, start from the champion, whatever it has learnt from."""
    if config.start == "cold":
        return "as configured (retraining.start)"
    if champion is None:
        return "there is no champion yet"
    if champion.recommender.backbone.config != training.backbone:
        return f"the backbone of version {champion.version} is configured otherwise"
    return None


def _seen(champion: Champion, sequences: Sequences, split: Split, splitting: Splitting) -> str | None:
    """Why the champion may have learnt from what is held out now."""
    if champion.until is None:
        return f"version {champion.version} was not made by retraining, so it may have seen what is held out now"
    if splitting.rule == champion.tags.get(SPLIT) == "leave_one_out":
        return None  # histories only grow: nobody's last event is one that was learnt from before
    if champion.until >= _first_target(sequences, split):
        return (
            f"version {champion.version} has learnt from events until {day(champion.until)}, some of them held out now"
        )
    return None


def _first_target(sequences: Sequences, split: Split) -> int:
    """Time of the earliest test target."""
    users = np.flatnonzero(split.test_at > 0)
    return int(
        sequences.timestamps[sequences.offsets[users] + split.test_at[users]].min(initial=np.iinfo(np.int64).max)
    )


def register(
    model: "Recommender",
    manifest: Manifest,
    evaluation: dict[str, Any],
    registry: Tracking,
    intake: Intake,
    start: Start,
    until: int,
    key: str,
) -> dict[str, Any]:
    """As `registry.register_model`; one that an interrupted round of this work left is taken over."""
    from pinet_kedro.registry.registration import challenge, register_model

    tags = {KEY: key, UNTIL: str(until), START: start.why, SPLIT: start.splitting.rule, TRAINED_ON: _summary(intake)}
    with reached(registry):
        if (found := version_of(tracking.connect(registry), registry.model, key, start.why)) is not None:
            log.info("Version %s was registered by a run that was interrupted; it is taken over.", found.version)
            return challenge(registry, str(found.version), found.run_id)
        files = {PARTITIONS_FILE: intake.partitions, MANIFEST_FILE: manifest.model_dump(mode="json")}
        return register_model(model, evaluation, registry, tags | manifest.tags(), files)


def finished_before(registry: Tracking, key: str) -> str | None:
    """The version that an interrupted round of the same work has made the champion, if there is one."""
    with reached(registry):
        client = tracking.connect(registry)
        found = version_of(client, registry.model, key)
        if found is None or found.tags.get("decision") != PROMOTED:
            return None
        return str(found.version) if aliases(client, registry.model).get(CHAMPION) == str(found.version) else None


def _summary(intake: Intake) -> str:
    names = sorted(intake.partitions)
    return f"{len(names)}: {names[0]} … {names[-1]}"[:4000]
