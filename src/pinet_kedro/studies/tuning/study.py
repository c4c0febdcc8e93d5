"""A study from its first trial to its last, and what is known of it then."""

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.errors import InputError
from pinet_kedro.reporting.text import number
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.queue import (
    INTERRUPTED,
    PROCESS,
    REASON,
    counts,
    fail_the_dead,
    failed_in_a_row,
    free_slots,
    is_dead,
)
from pinet_kedro.studies.tuning.sampling import SLOT
from pinet_kedro.studies.tuning.trial import BASE, GROUPS, SECONDS, curve_of, train_base
from pinet_kedro.studies.tuning.worker import Workers, work
from pinet_kedro.tracking.nested import close_nested
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.tracking.runs import end_the_dead
from pinet_kedro.training.backbone import validation_users

if TYPE_CHECKING:
    from optuna import Study

log = logging.getLogger("pinet_kedro")

_PAUSE_S = 2.0


class Record(Stored):
    """What a study is and how far it has come, as `data/08_reporting/tuning.json` holds it."""

    study: str
    storage: str = Field(description="without credentials")
    objective: str
    joint: bool
    judged: str = Field(description="what the trials' figures are of")
    data: str = Field(description="sha256 of log and split")
    epochs: int = Field(description="of a trial")
    full_epochs: int = Field(description="of a model trained in full")
    states: dict[str, int] = Field(description="trials by state")
    base: dict[str, float] = Field(description="joint training of the shipped configuration, on a trial's budget")
    front: tuple[int, ...] = Field(description="numbers of the trials that none beats, the best tail first")
    training_seconds: float = Field(description="of all trials together")
    space: dict[str, Any]


def run_study(plan: Plan, run: MlflowRun | None = None) -> tuple[Record, pd.DataFrame]:
    """The study's record and its trials, one row each, when all of them have been tried."""
    _check(plan)
    study = plan.create()
    _base(plan, study)
    since = time.time()
    seen = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
    log.info("Study %s: %d of %d trials are done (%s)", plan.name, _done(study), plan.config.trials, plan.address)

    def look() -> None:
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in seen:
                seen.add(trial.number)
                log.info("Trial %d %s", trial.number, _told(trial))

    try:
        while _left(plan, study):
            _work(plan, study, run, since, look)
    finally:
        close_nested()
    return describe(plan, study), table(study)


def describe(plan: Plan, study: "Study") -> Record:
    """The study as it is now."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]
    names = [trial.state.name.lower() for trial in trials]
    return Record(
        study=plan.name,
        storage=plan.address,
        objective=plan.config.objective,
        joint=plan.config.joint,
        judged="backbone with cross-fitted plugins" if plan.space.tunes_plugins else "backbone alone",
        data=plan.data.split_sha256,
        epochs=plan.epochs,
        full_epochs=plan.training.schedule.epochs,
        states={name: names.count(name) for name in dict.fromkeys(names)},
        base={group: study.user_attrs[BASE][group] for group in GROUPS},
        front=tuple(trial.number for trial in front(study)),
        training_seconds=sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials),
        space={name: dimension.model_dump(mode="json") for name, dimension in plan.space.dimensions.items()},
    )


def front(study: "Study") -> list[FrozenTrial]:
    """The trials that no other beats, the best tail first: the Pareto front, or the best that the constraint leaves."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not any(is_feasible(trial) for trial in done):
        return []
    return sorted(study.best_trials, key=lambda trial: -trial.user_attrs["tail"])


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint holds."""
    return all(value <= 0 for value in trial.constraints.values())


def table(study: "Study") -> pd.DataFrame:
    """One row a trial: number, slot, state, head and tail NDCG@10, epochs, seconds, and every parameter."""
    best = {trial.number for trial in front(study)}
    trials = study.get_trials(deepcopy=False)
    rows = [
        {
            "number": trial.number,
            "slot": trial.user_attrs.get(SLOT),
            "state": trial.state.name.lower() if counts(trial) else "interrupted",
            **{group: trial.user_attrs.get(group, np.nan) for group in GROUPS},
            "front": trial.number in best,
            "feasible": is_feasible(trial),
            "epochs": max(curve_of(trial), default=0),
            "seconds": trial.user_attrs.get(SECONDS, np.nan),
            "reason": trial.user_attrs.get(REASON, trial.user_attrs.get(INTERRUPTED)),
        }
        for trial in trials
    ]
    names = sorted({name for trial in trials for name in trial.params})
    parameters = {name: [trial.params.get(name) for trial in trials] for name in names}
    columns = {name: values if _numeric(values) else list(map(_text, values)) for name, values in parameters.items()}
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(columns)], axis=1)


def _numeric(values: list[Any]) -> bool:
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _check(plan: Plan) -> None:
    users = validation_users(plan.data, plan.training.schedule.validation_users)
    groups = plan.data.strata.groups(np.asarray(plan.data.split.train_end)[users])
    for group in GROUPS:
        if not groups[group].any():
            raise InputError(
                f"no {group} user has a validation target, and tuning is judged by head and tail: hold out more "
                "(splitting.valid_share) or use splitting.rule = leave_one_out."
            )
    _ = plan.space  # refuses what is wrong in it


def _base(plan: Plan, study: "Study") -> None:
    """Trains the base once for the study."""
    if BASE not in study.user_attrs:
        log.info("Training the base of the study, %d epochs", plan.epochs)
        study.set_user_attr(BASE, train_base(plan))


def _left(plan: Plan, study: "Study") -> bool:
    """Whether trials are to be done, or are being done by others."""
    fail_the_dead(plan, study)
    return bool(free_slots(plan, study) or study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def _work(plan: Plan, study: "Study", run: MlflowRun | None, since: float, look: Any) -> None:
    free = len(free_slots(plan, study))
    if free == 0:
        others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        hosts = ", ".join(sorted({trial.user_attrs.get(PROCESS, {}).get("host", "?").split()[0] for trial in others}))
        log.info("%d trials are at work in other processes (%s); waiting for them.", len(others), hosts)
        stale_s = plan.config.stale_minutes * 60
        while others and not any(is_dead(trial, stale_s) for trial in others):
            time.sleep(_PAUSE_S)
            look()
            others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return
    if min(plan.config.workers, free) == 1:
        work(plan, study, run, since, look)
    else:
        _work_together(plan, study, run, since, look)
    reasons = failed_in_a_row(study, since)
    if len(reasons) >= plan.config.failures:
        raise InputError(
            f"The last {len(reasons)} trials have all failed (tuning.failures = {plan.config.failures}), the newest "
            f"with: {reasons[0]} Nothing is lost: what is done stays in {plan.address}. Change tuning.space where it "
            "leads there, or run the command again."
        )


def _work_together(plan: Plan, study: "Study", run: MlflowRun | None, since: float, look: Any) -> None:
    workers = Workers(plan, run, since)

    def died() -> None:
        fail_the_dead(plan, study)
        end_the_dead(run)

    try:
        workers.watch(look, died)
    finally:
        workers.stop()
        end_the_dead(run)


def _done(study: "Study") -> int:
    return sum(counts(trial) and trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _told(trial: FrozenTrial) -> str:
    if not counts(trial):
        return f"was interrupted and is done again: {trial.user_attrs[INTERRUPTED]}"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.user_attrs.get(REASON)}"
    curve = curve_of(trial)
    if trial.state == TrialState.PRUNED:
        epoch = max(curve)
        return f"given up at epoch {epoch}: {_figures(curve[epoch])}"
    below = "" if is_feasible(trial) else ", the head below the base's"
    return f"{_figures(trial.user_attrs)}{below} ({trial.user_attrs[SECONDS]:.0f} s of training)"


def _figures(values: Any) -> str:
    return ", ".join(f"{group} {number(values[group])}" for group in GROUPS)
