"""The steps of retraining: where training starts, which version it becomes, and what an interrupted run left."""

import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.manifests import MANIFEST_FILE, Manifest
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.engines.logs import CleanLog, RawTables
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.drift import Drift, EventsInMemory, Size, measure_drift, size
from pinet_kedro.interactions.events import Cleaning, Interactions
from pinet_kedro.interactions.split import ExcludeSeen, NewerEvents, Splitting, split_sequences
from pinet_kedro.promotion.decision import PROMOTED, Decision, outcome_of
from pinet_kedro.reporting.text import day, plural
from pinet_kedro.retraining.champion import (
    KEY,
    PARTITIONS_FILE,
    SPLIT,
    START,
    TRAINED_ON,
    Champion,
    champion_of,
    reached,
)
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.gathering import Partitions, gather, rated, read_stored
from pinet_kedro.retraining.intake import Intake
from pinet_kedro.retraining.partitions import RAW_LOG
from pinet_kedro.retraining.reference import EngineReference
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
class HeldOut:
    """How events are held out, and the champion's model that has learnt none of them.

    `seen` is the reason why each of its models may have learnt targets, `cold` a further one for fresh weights; None if
    there is a model that has not, or no champion.
    """

    splitting: Splitting
    model: "Recommender | None" = None
    seen: str | None = None
    cold: str | None = None


@dataclass(frozen=True)
class TrainingStart:
    """Where training starts, its budget, and how events are held out.

    `backbone` is None for fresh weights; `why` is the reason as a sentence. `seen` is that of `HeldOut`.
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
    events: int = Field(description="clean events, of the raw log and all partitions")
    promotion: Decision
    feedback: tuple[str, ...] = Field((), description="what the feedback report says")


def measure(
    champion: Champion | None, raw_log: RawLog | None, accepted: Partitions, intake: Intake, cleaning: Cleaning
) -> Drift:
    """Drift of the partitions that the champion has not learnt against what it was trained on, or what is missing.

    An event below the rating threshold is no preference: the champion has not learnt it, and it is nothing to rank.
    """
    trained_on = {} if champion is None else champion.partitions or {}
    known = {name for name, content in trained_on.items() if content == intake.partitions.get(name)}
    new = [name for name in intake.new if name not in known]  # a run that was interrupted may have learnt some
    if not new:
        but = "all of them have been learnt" if intake.new else "only another raw log"
        nothing = Size(events=0, users=0, items=0)
        return Drift(window=nothing, missing=(f"there is no new partition, {but}",))
    window = rated(gather(read_stored(accepted, new, intake)), cleaning).in_memory().events
    if champion is None:
        return Drift(window=size(window), missing=("there is no champion yet: nothing to drift from",))
    version = f"version {champion.version}"
    learnt = [name for name in trained_on if name != RAW_LOG]
    kept = [name for name in learnt if name in accepted and name in known]
    why = None
    if champion.partitions is None:
        why = f"it is not known on which events {version} was trained"
    elif trained_on.get(RAW_LOG, intake.raw_log) != intake.raw_log:
        why = f"{version} was trained on a raw log that is not the one of this run"
    elif not kept and RAW_LOG not in trained_on:
        why = f"none of the partitions that {version} was trained on is kept here"
    if why is not None:
        return Drift(model=champion.version, window=size(window), missing=(why,))
    tags = {group: champion.tags.get(f"{group}.ndcg_at_10") for group in ("head", "tail")}
    then = {group: float(ndcg) for group, ndcg in tags.items() if ndcg is not None}
    log_events = raw_log.opened() if raw_log is not None and RAW_LOG in trained_on else None
    with closing(log_events) if log_events is not None else nullcontext():  # joined, it is in the same engine
        reference = rated(gather(read_stored(accepted, kept, intake), log_events), cleaning)
        events = EngineReference(reference) if isinstance(reference, RawTables) else EventsInMemory(reference.events)
        found = measure_drift(champion.models.served, champion.version, events, window, then)
    if kept == learnt:
        return found
    lost = f"{len(learnt) - len(kept)} of the {len(learnt)} partitions that {version} was trained on"
    return found.model_copy(update={"missing": (*found.missing, f"{lost} are not kept here: the reference lacks them")})


def hold_out(
    champion: Champion | None,
    clean: Interactions | CleanLog,
    splitting: Splitting,
    exclude_seen: ExcludeSeen,
    config: Retraining,
    intake: Intake,
) -> HeldOut:
    """What is held out of clean events: as configured, if a model of the champion has learnt none of that.

    If each has, a split in time holds out only what is newer than all that the one which was judged has learnt, or the
    one that is served if there is no other; unless that leaves fewer targets than `retraining.newer_targets`.
    """
    if champion is None:
        return HeldOut(splitting)
    models = champion.models
    if splitting.rule == champion.tags.get(SPLIT) == "leave_one_out":
        # Histories only grow, so no last event was learnt; but a refit has learnt the events before them, and where a
        # part of the log was replaced, the last events may be earlier ones of the old histories.
        learnt = champion.partitions or {}
        if replaced := [name for name, sha in learnt.items() if intake.partitions.get(name) != sha]:
            what = "the raw log" if replaced[0] == RAW_LOG else replaced[0]
            seen = f"version {champion.version} has learnt another content of {what}, with events held out now"
            return HeldOut(splitting, seen=seen)
        why = f"version {champion.version} has learnt validation events of users without new ones"
        return HeldOut(splitting, models.served) if models.judged is None else HeldOut(splitting, cold=why)
    sequences, _, _ = clean.indexed()
    held_out = ~split_sequences(sequences, splitting, exclude_seen).in_training(sequences)
    if (model := models.unseen(int(sequences.timestamps[held_out].min()))) is not None:
        return HeldOut(splitting, model)
    until = models.served_until if models.judged is None else models.judged_until
    if until is None:
        unknown = f"it is not known until when version {champion.version} has learnt"
        return HeldOut(splitting, seen=f"{unknown}, so it may have seen what is held out now")
    seen = f"version {champion.version} has learnt from events until {day(until)}, some of them held out now"
    if splitting.rule == "leave_one_out":
        return HeldOut(splitting, seen=seen)
    newer = NewerEvents(**splitting.model_dump(), after=until)
    try:
        split = split_sequences(sequences, newer, exclude_seen)
        targets = [int((at > 0).sum()) for at in (split.valid_at, split.test_at)]
    except InputError:  # nothing is newer, or none of it is a target
        targets = [0, 0]
    if min(targets) >= config.newer_targets:
        return HeldOut(newer, models.unseen(until + 1))
    few = (
        f"newer events have {targets[0]:,} validation and {targets[1]:,} test targets, and {config.newer_targets:,} of "
        "each are needed (retraining.newer_targets)"
    )
    return HeldOut(splitting, seen=seen, cold=few)


def choose_start(
    champion: Champion | None, held_out: HeldOut, dataset: Dataset, training: BackboneTraining, config: Retraining
) -> TrainingStart:
    """Warm from the champion's backbone; cold if configured, or if the champion may have seen the held-out events.

    After a refit the champion has two backbones: the one that it serves is taken if it cannot have seen them, or else
    the one that was judged.
    """
    splitting, seen = held_out.splitting, held_out.seen
    why = _cold(champion, training, config) or "; ".join(filter(None, (seen, held_out.cold))) or None
    if why is not None or champion is None or held_out.model is None:
        log.info("Training starts cold: %s", why)
        return TrainingStart(f"cold: {why}", training, splitting, seen=seen)
    epochs = max(1, round(config.warm_epochs * training.schedule.epochs))
    shorter = training.model_copy(update={"schedule": training.schedule.model_copy(update={"epochs": epochs})})
    model = held_out.model
    backbone = carry_over(model.backbone, model.item_ids.tolist(), dataset.item_ids.tolist(), training.seed)
    why = f"from version {champion.version}, {plural(epochs, 'epoch')} instead of {training.schedule.epochs}"
    if isinstance(splitting, NewerEvents):
        why += f"; held out is only what is newer than {day(splitting.after)}, which it has not learnt"
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


@dataclass(frozen=True)
class TrainingRecord:
    """What a version that retraining registers records of its training: as tags, and its partitions as a file.

    `key` names the work: the raw log, the partitions and the parameters.
    """

    key: str
    start: str
    split: str
    partitions: dict[str, str]

    def tags(self) -> dict[str, str]:
        """By the names that `retraining.champion` reads."""
        names = sorted(name for name in self.partitions if name != RAW_LOG)
        log_too = "raw log, " if RAW_LOG in self.partitions else ""
        trained_on = f"{log_too}{len(names)}: {names[0]} … {names[-1]}"[:4000]
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
    """As `registry.register_once`: a version that an interrupted run of this work has left is taken over if it is the
    one that this run has trained. Table of items, code or machine may have changed, which `record.key` does not say.
    """
    from pinet_kedro.registry.registration import register_once

    with reached(registry):
        files = {PARTITIONS_FILE: record.partitions, MANIFEST_FILE: manifest.model_dump(mode="json")}
        made = register_once(models, evaluation, registry, record.tags() | manifest.tags(), files, run_id)
    if "registered_before" in made:
        log.info("Version %s was registered by a run that was interrupted; it is taken over.", made["version"])
    return made


def judge(promote: Callable[[], tuple[dict[str, Any], str]]) -> tuple[dict[str, Any], str]:
    """The decision that `promote` returns; of a version that an interrupted run has made the champion, that it is."""
    from pinet_kedro.promotion.page import render_promotion
    from pinet_kedro.promotion.promote import ChampionAlready

    try:
        return promote()
    except ChampionAlready as already:
        return already.decision.model_dump(mode="json"), render_promotion(already.decision)


def finished_before(registry: Tracking, key: str) -> str | None:
    """The version that an interrupted run of the same work has made the champion; None if there is none."""
    with reached(registry):
        client = tracking.connect(registry)
        found = champion_of(client, registry.model, key)
        return None if found is None or outcome_of(found.tags) != PROMOTED else str(found.version)
