"""A study from its first trial to its last, in this process or several of its own, and its record."""

import logging
import time
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import pandas as pd
import torch
from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.errors import InputError
from pinet_kedro.processes.terminal import guard_terminal
from pinet_kedro.processes.workers import run_workers
from pinet_kedro.studies.tuning.plan import StudyPlan, counted, try_again
from pinet_kedro.studies.tuning.trial import GROUPS, TrackedTrial, validation_ndcg
from pinet_kedro.tracking.nested import close_nested
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.tracking.runs import end_the_dead
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
    space: dict[str, Any]

    @property
    def progress(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.states.items())


def run_study(plan: StudyPlan, run: MlflowRun | None = None) -> tuple[Record, pd.DataFrame]:
    """The study's record and its trials, one row each, when all of them have ended."""
    users = validation_users(plan.dataset, plan.training.schedule.validation_users)
    if absent := set(GROUPS).intersection(plan.dataset.strata.absent(plan.dataset.activeness[users])):
        how = "hold out more (splitting.valid_share) or use splitting.rule = leave_one_out"
        raise InputError(f"No {absent.pop()} user has a validation target, which tuning needs: {how}.")
    study = plan.study()
    train_base(plan, study)
    done = sum(trial.state.is_finished() for trial in counted(study))
    log.info("Study %s: %d of %d trials are done (%s)", plan.name, done, plan.config.trials, plan.address)
    since = datetime.now()
    try:
        while True:
            # The command holds the project's lock: with storage of its own no other one works on the study.
            interrupt_dead(study, alone=plan.config.storage is None)
            if _has_room(plan, study):
                _run_trials(plan, study, run, since)
            elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):  # on other machines
                time.sleep(2)
            else:
                return _describe(plan, study), _table(study)
    finally:
        end_the_dead(run)


def train_base(plan: StudyPlan, study: Study) -> None:
    """Trains the base on a trial's budget, once for the study."""
    if "base" not in study.user_attrs:
        log.info("Training the base of the study, %d epochs", plan.epochs)
        training = plan.short(plan.training, plan.config.seed).joint()
        study.set_user_attr("base", validation_ndcg(plan, training, plan.plugins, lambda _: None))


def interrupt_dead(study: Study, alone: bool) -> None:
    """Fails and queues again the trials whose process has ended: all (`alone`), or those with an old heartbeat."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        age = datetime.now() - (trial.datetime_start or datetime.now())
        # A trial without values after a minute has died before its first heartbeat.
        if alone or (not trial.params and age > timedelta(minutes=1)):
            with suppress(UpdateFinishedTrialError, ValueError):  # it has ended meanwhile
                study.tell(trial.number, state=TrialState.FAIL)
                try_again(study, trial)
    fail_stale_trials(study)


def _has_room(plan: StudyPlan, study: Study) -> bool:
    return sum(trial.state != TrialState.WAITING for trial in counted(study)) < plan.config.trials


def _failed_in_a_row(study: Study, since: datetime) -> list[str]:
    """Reasons of the newest trials that failed one after the other, the newest first."""
    ended = [(trial.datetime_complete or since, trial.number, trial) for trial in counted(study)]
    newest = [trial for time, _, trial in sorted(ended, reverse=True) if time > since]
    failed = takewhile(lambda trial: trial.state == TrialState.FAIL, newest)
    return [trial.user_attrs.get("reason", "the reason is unknown") for trial in failed]


def _run_trials(plan: StudyPlan, study: Study, run: MlflowRun | None, since: datetime) -> None:
    """Runs trials until there are enough, in this process or in several, of which one that dies is replaced."""
    if plan.config.workers == 1:
        _work(plan, run, since)
    else:
        with closing(run_workers(_work, (plan, run, since), plan.config.workers)) as died:
            for deaths, code in enumerate(died, 1):
                log.warning("A worker of the study has died (exit code %s).", code)
                end_the_dead(run)
                if deaths >= plan.config.failures:
                    why = "maybe because memory ran out (exit code −9): use fewer (tuning.workers) or smaller models"
                    raise InputError(f"{deaths} workers of the study have died, {why}.")
    reasons = _failed_in_a_row(study, since)
    if len(reasons) >= plan.config.failures:
        what = f"The last {len(reasons)} trials have all failed (tuning.failures), the newest with: {reasons[0]}"
        raise InputError(f"{what} Finished trials are kept. Change tuning.space or run the command again.")


def _work(plan: StudyPlan, run: MlflowRun | None, since: datetime) -> None:
    guard_terminal()
    if plan.training.threads:
        torch.set_num_threads(plan.training.threads)
    # Combinations that cannot be trained are part of a study; any other error is a defect of ours.
    study, expected = plan.study(), (ArithmeticError, ValueError, RuntimeError, MemoryError)
    try:
        while len(_failed_in_a_row(study, since)) < plan.config.failures:
            with ExitStack() as claim:  # released when the trial has started: two workers cannot start the last one
                claim.enter_context(plan.alone())
                if not _has_room(plan, study):
                    return
                trial = TrackedTrial(plan, run, claim.close)
                study.optimize(trial, 1, catch=expected, callbacks=[trial.close])
    finally:
        close_nested()


def _describe(plan: StudyPlan, study: Study) -> Record:
    names = [trial.state.name.lower() for trial in counted(study)]
    return Record(
        study=plan.name, storage=plan.address, objective=plan.config.objective, joint=plan.config.joint,
        judged="backbone with cross-fitted plugins" if plan.space.tunes_plugins else "backbone alone",
        data=plan.dataset.split_sha256, epochs=plan.epochs, full_epochs=plan.training.schedule.epochs,
        states={name: names.count(name) for name in dict.fromkeys(names)}, base=study.user_attrs["base"],
        front=tuple(t.number for t in sorted(study.best_trials, key=lambda trial: -trial.user_attrs["tail"])),
        space={name: dimension.model_dump(mode="json") for name, dimension in plan.space.dimensions.items()},
    )  # fmt: skip


def _table(study: Study) -> pd.DataFrame:
    """One row a trial: number, slot, state, head and tail NDCG@10, epochs, and every parameter."""
    frame = study.trials_dataframe(("number", "state", "user_attrs", "params"))
    frame.columns = names = [str(name).removeprefix("user_attrs_").removeprefix("params_") for name in frame]
    counts = frame["number"].isin([trial.number for trial in counted(study)])
    frame["state"] = frame["state"].str.lower().where(counts, "interrupted")
    frame["front"] = frame["number"].isin([trial.number for trial in study.best_trials])
    facts = ["number", "slot", "state", *GROUPS, "front", "epochs", "reason"]
    frame = frame.reindex(columns=[*facts, *sorted(name for name in names if "." in name)])
    mixed = frame.select_dtypes(object)  # choices of several types, which Parquet cannot store
    return frame.assign(**mixed.map(str, na_action="ignore"))
