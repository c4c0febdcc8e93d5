"""Adapters of `retraining` to the catalog: partitions, drift, start of training, registration, decision."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.feedback.config import Feedback
from pinet_kedro.interactions.events import Cleaning, Interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.pipelines.types import (
    CurrentChampion,
    Drift,
    FeedbackReport,
    HeldOut,
    Intake,
    Manifest,
    RawLog,
    RetrainingSummary,
    TrainingRecord,
    TrainingStart,
    VersionModels,
)
from pinet_kedro.promotion.config import Promotion
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.retraining import new_work
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import Delivery, work_key
from pinet_kedro.serving.config import Serving
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining

_Partitions = dict[str, Callable[[], pd.DataFrame]]


def require_new(
    delivery: Delivery, raw_log: RawLog | None, config: Retraining, registry: Tracking, parameters: dict[str, Any]
) -> Delivery:
    """The delivery itself, if there is anything new in it; otherwise the run ends here (`NothingToDo`)."""
    return new_work.require_new(delivery, raw_log, config, registry, parameters)


def take_in(delivery: Delivery, config: Retraining) -> tuple[dict[str, pd.DataFrame], Intake]:
    """Events of the accepted new partitions by id, and a record of all new ones.

    Bad partitions move to the folder `retraining.rejected`, each with its report as text and as pages.
    """
    from pinet_kedro.retraining.intake import take_in

    return take_in(delivery, config)


def gather(
    raw_log: RawLog | None,
    accepted: _Partitions,
    intake: Intake,
    config: Retraining,
    drift: Drift,  # noqa: ARG001  it reads the raw log, too: one engine is closed before another opens
) -> Any:
    """Raw events of the raw log and of all accepted partitions, including those of earlier runs."""
    from pinet_kedro.retraining.gathering import gather_all

    return gather_all(raw_log, accepted, intake, config)


def read_champion(
    registry: Tracking,
    intake: Intake,  # noqa: ARG001  the registry is not asked before there is something to retrain on
) -> CurrentChampion:
    """The champion, or none."""
    from pinet_kedro.retraining.champion import read_champion

    return read_champion(registry)


def measure_drift(
    current: CurrentChampion, raw_log: RawLog | None, accepted: _Partitions, intake: Intake, cleaning: Cleaning
) -> Drift:
    """Drift of the new partitions against the training data of the champion."""
    from pinet_kedro.retraining.steps import measure

    return measure(current.champion, raw_log, accepted, intake, cleaning)


def hold_out(
    current: CurrentChampion, clean: Interactions, splitting: Splitting, exclude_seen: ExcludeSeen,
    config: Retraining, intake: Intake,
) -> tuple[HeldOut, Splitting]:  # fmt: skip
    """What is held out, with the model of the champion that has learnt none of it; and the split alone."""
    from pinet_kedro.retraining.steps import hold_out

    found = hold_out(current.champion, clean, splitting, exclude_seen, config, intake)
    return found, found.splitting


def measure_feedback(accepted: _Partitions, intake: Intake, serving: Serving, config: Feedback) -> FeedbackReport:
    """What users took of what was recommended to them, in all accepted partitions."""
    from pinet_kedro.feedback.measure import measure_if_readable

    return measure_if_readable(serving.log.folder, accepted, intake.files, config)


def choose_start(
    current: CurrentChampion, held_out: HeldOut, dataset: Dataset, training: BackboneTraining, config: Retraining
) -> TrainingStart:
    """Where training starts, and its budget."""
    from pinet_kedro.retraining.steps import choose_start

    return choose_start(current.champion, held_out, dataset, training, config)


def effective(parameters: dict[str, Any], start: TrainingStart) -> dict[str, Any]:
    """The parameters that this run uses: those of training and splitting come from the start of training."""
    return {**parameters, "backbone_training": start.config, "splitting": start.splitting}


def record_training(intake: Intake, start: TrainingStart, parameters: dict[str, Any]) -> TrainingRecord:
    """What the registered version records of its training."""
    from pinet_kedro.retraining.steps import record_training

    return record_training(intake, start, work_key(intake.partitions, parameters))


def register(
    models: VersionModels, manifest: Manifest, evaluation: dict[str, Any], record: TrainingRecord, run: RunInfo
) -> dict[str, Any]:
    """Name, number, alias and run of the registered version."""
    from pinet_kedro.retraining.steps import register

    return register(models, manifest, evaluation, record, run.tracking, run.mlflow_id)


def promote(
    dataset: Dataset, validation: Gate, config: Promotion, run: RunInfo, registered: dict[str, Any],
    start: TrainingStart,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """The decision on the version that this run has registered, and its page."""
    from pinet_kedro.pipelines.promotion.nodes import promote
    from pinet_kedro.retraining.steps import judge

    mine = config.model_copy(update={"version": int(registered["version"])})
    notes = () if start.seen is None else (f"{start.seen}, which flatters it",)
    return judge(lambda: promote(dataset, validation, mine, run, notes))


def summarise(
    intake: Intake, drift: Drift, start: TrainingStart, dataset: Dataset, promotion: dict[str, Any],
    feedback: FeedbackReport,
) -> RetrainingSummary:  # fmt: skip
    """The run: what came in, what it was trained on, and what was decided."""
    from pinet_kedro.promotion.decision import Decision
    from pinet_kedro.retraining.steps import RetrainingSummary

    return RetrainingSummary(
        intake=intake, drift=drift, start=start.why, epochs=start.config.schedule.epochs,
        events=len(dataset.sequences.items), promotion=Decision.model_validate(promotion),
        feedback=tuple(feedback.sentences()),
    )  # fmt: skip


def conclude(
    done: RetrainingSummary,
    report: str,  # noqa: ARG001  nothing of the run is missing when its partitions count as taken
    feedback_page: str,  # noqa: ARG001
) -> tuple[dict[str, Any], str]:
    """The run as `retraining.json` stores it, and its page."""
    from pinet_kedro.retraining.page import render_summary

    return done.model_dump(mode="json"), render_summary(done)
