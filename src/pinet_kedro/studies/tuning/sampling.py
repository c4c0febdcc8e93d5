"""What a trial is tried with: a sampler whose draws depend on the trial, not on the process that asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.samplers import BaseSampler, TPESampler

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

SLOT = "slot"  # user attribute: which of the study's trials it is, also when it is done again


class SeededSampler(BaseSampler):
    """Optuna's TPE, seeded anew for every trial by its slot: a study that is resumed draws what it would have drawn.

    What a trial learns from the others depends on which of them have finished: with several workers, on chance.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self._seed, self._startup = seed, startup
        self._sampler = self._of(0)

    def _of(self, slot: int) -> TPESampler:
        return TPESampler(seed=self._seed + slot, n_startup_trials=self._startup)

    def before_trial(self, study: "Study", trial: "FrozenTrial") -> None:
        self._sampler = self._of(trial.user_attrs.get(SLOT, trial.number))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> "dict[str, BaseDistribution]":
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: "Study", trial: "FrozenTrial", search_space: "dict[str, BaseDistribution]"
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: "BaseDistribution"
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: "Study", trial: "FrozenTrial", state: "TrialState", values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)
