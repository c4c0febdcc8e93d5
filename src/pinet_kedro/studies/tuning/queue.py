"""Which trial runs next and how its draws are seeded: a study is reproducible, whatever is interrupted.

An interrupted trial is tried again by a copy with its values and its slot. A slot is a trial's place in the study: its
number, not counting copies. Sampler and training are seeded by it.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from optuna import Study
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

REASON = "reason"  # user attribute of a failed trial


class SeededSampler(TPESampler):
    """Optuna's TPE, seeded anew for every trial by its slot: a resumed study draws what it would have drawn.

    With several workers the draws also depend on which trials have finished.
    """

    def __init__(self, seed: int, startup: int) -> None:
        super().__init__(seed=seed, n_startup_trials=startup)
        self._seed, self._startup = seed, startup

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seeds the generators."""
        super().__init__(seed=self._seed + slot_of(study, trial.number), n_startup_trials=self._startup)


def slot_of(study: Study, number: int) -> int:
    """A trial's place in the study, from 0; a copy has that of its original."""
    trials = study.get_trials(deepcopy=False)
    first = trials[number].system_attrs.get("failed_trial", number)
    return first - sum("failed_trial" in trial.system_attrs for trial in trials[:first])


def counted(study: Study) -> list[FrozenTrial]:
    """The trials that count: all but those that were interrupted and have a copy."""
    trials = study.get_trials(deepcopy=False)
    copied = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return [trial for trial in trials if trial.number not in copied]


def has_room(study: Study, total: int) -> bool:
    """Whether another trial may start."""
    return sum(trial.state != TrialState.WAITING for trial in counted(study)) < total


def try_again(study: Study, trial: FrozenTrial) -> None:
    """Queues a copy of an interrupted trial, without what the trial has recorded."""
    trial.user_attrs = {}
    RetryHeartbeatStaleTrialCallback()(study, trial)


def interrupt_dead(study: Study, alone: bool) -> None:
    """Fails the running trials whose process has ended, and queues copies of them.

    `alone` says that no process works on the study now. Otherwise a trial is dead when its heartbeat is too old.
    """
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        age = datetime.now() - (trial.datetime_start or datetime.now())
        # A trial without values after a minute has died before its first heartbeat.
        if alone or (not trial.params and age > timedelta(minutes=1)):
            with suppress(UpdateFinishedTrialError, ValueError):  # it has ended meanwhile
                study.tell(trial.number, state=TrialState.FAIL)
                try_again(study, trial)
    fail_stale_trials(study)


def failed_in_a_row(study: Study, since: datetime) -> list[str]:
    """Reasons of the newest finished trials that failed one after the other, of those that ended after a time."""
    finished = [trial for trial in counted(study) if trial.datetime_complete and trial.datetime_complete > since]
    finished.sort(key=lambda trial: trial.datetime_complete or since, reverse=True)
    ok = next((n for n, trial in enumerate(finished) if trial.state != TrialState.FAIL), len(finished))
    return [trial.user_attrs.get(REASON, "the reason is unknown") for trial in finished[:ok]]
