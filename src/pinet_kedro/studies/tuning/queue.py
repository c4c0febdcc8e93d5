"""Which trial comes next: a study has so many slots, and each is tried once, whatever dies meanwhile.

The number of trials is thus a total that any number of workers on any number of machines share. What was interrupted is
done again in its slot, with the values that it had and the slot's seed.
"""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from pinet_kedro.processes.identity import is_gone, this_process
from pinet_kedro.processes.lock import hold
from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.sampling import SLOT

if TYPE_CHECKING:
    from optuna import Study

PROCESS, INTERRUPTED, REASON, SEEN = "process", "interrupted", "reason", "seen"
_LOCK_S = 60.0
_SIGNED_AFTER_S = 60.0  # a worker writes its name on a trial at once; one that did not is dead


def free_slots(plan: Plan, study: "Study") -> dict[int, dict[str, Any]]:
    """Slots that nobody has tried or is trying, the lowest first, each with the values that are to be tried there.

    Those are of a trial that was interrupted, of the shipped configuration for the first slot where the space admits
    it, or none: then the sampler draws them.
    """
    trials = study.get_trials(deepcopy=False)
    held = {trial.user_attrs.get(SLOT) for trial in trials if counts(trial) and trial.state != TrialState.WAITING}
    left = {trial.user_attrs.get(SLOT): _values(trial) for trial in trials}
    shipped = {0: plan.space.shipped() or {}}
    return {slot: left.get(slot) or shipped.get(slot, {}) for slot in range(plan.config.trials) if slot not in held}


def fail_the_dead(plan: Plan, study: "Study") -> None:
    """Frees the slots of trials whose process has ended."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_dead(trial, plan.config.stale_minutes * 60):
            _interrupt(study, trial, "its process ended")


def claim(plan: Plan, study: "Study") -> Trial | None:
    """A trial in the lowest free slot, which is this process's now; None when none is free.

    The lock is that of one project folder. Should two machines reach for a slot in the same moment, the lower number
    has it, and the other goes on with the next.
    """
    while True:
        with hold(f"tuning_{plan.name}", wait_s=_LOCK_S):
            free = free_slots(plan, study)
            if not free:
                return None
            if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):  # left by one that died right here
                slot, values = next(iter(free.items()))
                study.enqueue_trial(values, user_attrs={SLOT: slot})
            trial = study.ask()
            trial.set_user_attr(PROCESS, this_process())
        slot, number = trial.user_attrs[SLOT], trial.number
        trials = study.get_trials(deepcopy=False)
        if not any(t.number < number and t.user_attrs.get(SLOT) == slot and counts(t) for t in trials):
            return trial
        put_back(study, trial, "another machine has its slot")


def put_back(study: "Study", trial: Trial, why: str) -> None:
    """Ends a trial of this process that could not come to its end: the next run does it again."""
    trial.set_user_attr(INTERRUPTED, why)
    study.tell(trial, state=TrialState.FAIL)


def counts(trial: FrozenTrial) -> bool:
    """Whether the trial is one of the study's total: all but those that were interrupted."""
    return INTERRUPTED not in trial.user_attrs


def is_dead(trial: FrozenTrial, stale_s: float) -> bool:
    """Whether the process of a running trial has ended; that of another machine is judged by its silence."""
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    process = trial.user_attrs.get(PROCESS)
    if process is None:
        return time.time() - started > _SIGNED_AFTER_S
    return is_gone(process) or time.time() - max(started, trial.user_attrs.get(SEEN, 0.0)) > stale_s


def failed_in_a_row(study: "Study", since: float) -> list[str]:
    """Reasons of the newest trials that failed one after the other, of those that began after a time."""
    finished = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and counts(trial) and _time(trial.datetime_start) >= since
    ]
    finished.sort(key=lambda trial: _time(trial.datetime_complete))
    reasons = []
    for trial in reversed(finished):
        if trial.state != TrialState.FAIL:
            break
        reasons.append(str(trial.user_attrs.get(REASON, "no reason is known")))
    return reasons


def _time(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def _interrupt(study: "Study", trial: FrozenTrial, why: str) -> None:
    storage = study._storage  # Optuna's own `tell` sets no attribute of a trial of another process
    try:
        storage.set_trial_user_attr(trial._trial_id, INTERRUPTED, why)
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        pass  # another machine was quicker, or the trial has ended after all


def _values(trial: FrozenTrial) -> dict[str, Any]:
    return trial.params or trial.system_attrs.get("fixed_params", {})
