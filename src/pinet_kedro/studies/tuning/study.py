"""A study from its first trial to its last, and its record."""

import logging
import time
from datetime import datetime
from typing import Any

import pandas as pd
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.errors import InputError
from pinet_kedro.studies.tuning.plan import StudyPlan
from pinet_kedro.studies.tuning.queue import REASON, counted, failed_in_a_row, has_room, interrupt_dead
from pinet_kedro.studies.tuning.trial import BASE, EPOCHS, GROUPS, SECONDS, SLOT, validation_ndcg
from pinet_kedro.studies.tuning.worker import work, work_together
from pinet_kedro.tracking.nested import close_nested
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.training.backbone import validation_users

log = logging.getLogger("pinet_kedro")


class Record(Stored):
    """What a study is and how far it has come, as `data/08_reporting/tuning.json` holds it."""

    study: str
    storage: str = Field(description="without credentials")
    objective: str
    joint: bool
    judged: str = Field(description="which model the trials' metrics are of")
    data: str = Field(description="sha256 of log and split")
    epochs: int = Field(description="of a trial")
    full_epochs: int = Field(description="of a model trained in full")
    states: dict[str, int] = Field(description="number of trials by state")
    base: dict[str, float] = Field(description="joint training of the shipped configuration, on a trial's budget")
    front: tuple[int, ...] = Field(description="numbers of the trials that no other beats, the best tail first")
    training_seconds: float = Field(description="of all trials together")
    space: dict[str, Any]


def run_study(plan: StudyPlan, run: MlflowRun | None = None) -> tuple[Record, pd.DataFrame]:
    """The study's record and its trials, one row each, when all of them have ended."""
    users = validation_users(plan.dataset, plan.training.schedule.validation_users)
    if absent := set(GROUPS).intersection(plan.dataset.strata.absent(plan.dataset.activeness[users])):
        raise InputError(
            f"no {absent.pop()} user has a validation target, and tuning is judged by head and tail: hold out more "
            "(splitting.valid_share) or use splitting.rule = leave_one_out."
        )
    study = plan.study(new=True)
    train_base(plan, study)
    done = sum(trial.state.is_finished() for trial in counted(study))
    log.info("Study %s: %d of %d trials are done (%s)", plan.name, done, plan.config.trials, plan.address)
    try:
        _finish(plan, study, run)
    finally:
        close_nested()
    return describe(plan, study), table(study)


def train_base(plan: StudyPlan, study: Study) -> None:
    """Trains the base on a trial's budget, once for the study."""
    if BASE not in study.user_attrs:
        log.info("Training the base of the study, %d epochs", plan.epochs)
        training = plan.short(plan.training, plan.config.seed).joint()
        study.set_user_attr(BASE, validation_ndcg(plan, training, plan.plugins, lambda _: None))


def _finish(plan: StudyPlan, study: Study, run: MlflowRun | None) -> None:
    """Runs trials until there are enough, then waits for those that run on other machines."""
    since, waits = datetime.now(), False
    while True:
        # The command holds the project's lock: with storage of its own no other one works on the study.
        interrupt_dead(study, alone=plan.config.storage is None)
        if has_room(study, plan.config.trials):
            if plan.config.workers == 1:
                work(plan, study, run, since)
            else:
                work_together(plan, run, since)
            reasons = failed_in_a_row(study, since)
            if len(reasons) >= plan.config.failures:
                raise InputError(
                    f"The last {len(reasons)} trials have all failed (tuning.failures = {plan.config.failures}), the "
                    f"newest with: {reasons[0]} Finished trials are kept in {plan.address}. Change tuning.space if it "
                    "is the cause, or run the command again."
                )
        elif others := study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not waits:
                log.info("Waiting for %d trials that run on other machines", len(others))
            waits = True
            time.sleep(2)
        else:
            return


def describe(plan: StudyPlan, study: Study) -> Record:
    """The study as it is now."""
    trials = counted(study)
    names = [trial.state.name.lower() for trial in trials]
    return Record(
        study=plan.name,
        storage=plan.address,
        objective=plan.config.objective,
        joint=plan.config.joint,
        judged="backbone with cross-fitted plugins" if plan.space.tunes_plugins else "backbone alone",
        data=plan.dataset.split_sha256,
        epochs=plan.epochs,
        full_epochs=plan.training.schedule.epochs,
        states={name: names.count(name) for name in dict.fromkeys(names)},
        base=study.user_attrs[BASE],
        front=tuple(trial.number for trial in front(study)),
        training_seconds=sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials),
        space={name: dimension.model_dump(mode="json") for name, dimension in plan.space.dimensions.items()},
    )


def front(study: Study) -> list[FrozenTrial]:
    """The trials that no other beats, the best tail first: the Pareto front, or the best that the constraint admits."""
    return sorted(study.best_trials, key=lambda trial: -trial.user_attrs["tail"])


def table(study: Study) -> pd.DataFrame:
    """One row a trial: number, slot, state, head and tail NDCG@10, epochs, seconds, and every parameter."""
    frame = study.trials_dataframe(("number", "state", "user_attrs", "params"))
    frame.columns = names = [str(name).removeprefix("user_attrs_").removeprefix("params_") for name in frame]
    facts = ["number", SLOT, "state", *GROUPS, "front", EPOCHS, SECONDS, REASON]
    frame = frame.reindex(columns=[*facts, *sorted(name for name in names if "." in name)])
    counting = [trial.number for trial in counted(study)]
    frame["state"] = frame["state"].str.lower().where(frame["number"].isin(counting), "interrupted")
    frame["front"] = frame["number"].isin([trial.number for trial in front(study)])
    mixed = frame.select_dtypes(object)  # choices of several types, which Parquet cannot store
    return frame.assign(**mixed.map(str, na_action="ignore"))
