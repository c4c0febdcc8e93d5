"""What a study is: the data, what is fixed, what is tuned; its name, its storage, and the order of its trials.

An interrupted trial is tried again by a copy with its values and its slot. A slot is a trial's place in the study: its
number, not counting copies. Sampler and training are seeded by it: a study is reproducible, whatever is interrupted.
"""

import hashlib
import json
import logging
import math
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
from optuna import Study
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy import NullPool, create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.printable import public
from pinet_kedro.processes.database_lock import hold_in_database, is_postgres
from pinet_kedro.processes.lock import hold
from pinet_kedro.provenance import code_version, method_version
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.studies.tuning.space import SearchSpace, build_space
from pinet_kedro.tracking.server import cause
from pinet_kedro.training.config import BackboneTraining

log = logging.getLogger("pinet_kedro")

_WAIT_S = 60.0  # for the lock

# These may change without making another study: how far it goes, and what is done with its trials.
_OPEN = {"trials", "workers", "failures", "stale_minutes", "storage", "folder", "finalists", "tail_weight", "choose"}
_TRIALS = ("studies/tuning/space.py", "studies/tuning/trial.py")  # the code that makes and judges a trial


@dataclass(frozen=True)
class StudyPlan:
    """A study. `name` changes with everything that a trial's result depends on, code included, and nothing else."""

    config: Tuning
    training: BackboneTraining
    plugins: PluginTraining
    dataset: Dataset
    folder: Path

    @cached_property
    def space(self) -> SearchSpace:
        return build_space(self.config.space, self.training, self.plugins, self.config.joint)

    @cached_property
    def name(self) -> str:
        content = {
            "data": self.dataset.split_sha256,
            "strata": plain(self.dataset.strata),
            "training": plain(self.short(self.training.anywhere(), self.training.seed)),
            "plugins": plain(self.plugins) if self.space.tunes_plugins else None,
            "tuning": self.config.model_dump(mode="json", exclude=_OPEN),
            "code": code_version(*_TRIALS),  # `method_version` does not cover it
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        return f"{'base' if self.config.joint else 'backbone'}-{digest}-{method_version()}"

    @property
    def epochs(self) -> int:
        return min(self.config.epochs, self.training.schedule.epochs)

    @property
    def objectives(self) -> list[str]:
        return ["head", "tail"] if self.config.objective == "head_and_tail" else ["tail"]

    @property
    def address(self) -> str:
        return public(self.config.storage) if self.config.storage else f"{self.config.folder}/studies.db"

    def short(self, training: BackboneTraining, seed: int) -> BackboneTraining:
        """The configuration with a trial's seed and budget."""
        changes = {"epochs": self.epochs, "validate_every": self.config.validate_every}
        return training.model_copy(update={"seed": seed, "schedule": training.schedule.model_copy(update=changes)})

    def study(self) -> Study:
        """The study in its storage. A new one has the shipped values for its first trial."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the project's own log reports the trials
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            with self.alone():
                return self._study()
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError, RuntimeError) as error:
            advice = " A database of MLflow keeps no studies: create another one." * isinstance(error, RuntimeError)
            raise InputError(f"tuning.storage, {self.address}, cannot be used: {cause(error)}.{advice}") from error

    def alone(self) -> AbstractContextManager[None]:
        """Held by one process at a time, which makes the study or starts a trial; on PostgreSQL of all machines."""
        if self.config.storage and is_postgres(self.config.storage):
            return hold_in_database(self.config.storage, "tuning", _WAIT_S)
        return hold(f"tuning_{self.name}", wait_s=_WAIT_S)

    def _study(self) -> Study:
        folder, silence_s = self.folder / self.config.folder, math.ceil(self.config.stale_minutes * 60)
        folder.mkdir(parents=True, exist_ok=True)
        if self.config.storage:
            _require_no_mlflow(self.config.storage)
        storage = RDBStorage(
            self.config.storage or f"sqlite:///{folder}/studies.db",
            {} if self.config.storage else {"connect_args": {"timeout": 60}},
            heartbeat_interval=min(20, math.ceil(silence_s / 3)), grace_period=silence_s,
            heartbeat_stale_trial_callback=try_again,
        )  # fmt: skip
        study = optuna.create_study(
            storage=storage, study_name=self.name, directions=["maximize" for _ in self.objectives],
            sampler=_SeededSampler(self.config.seed, self.config.startup), load_if_exists=True,
        )  # fmt: skip
        if not study.get_trials(deepcopy=False):
            study.set_metric_names(self.objectives)
            if shipped := self.space.shipped():
                study.enqueue_trial(shipped)
            else:
                log.warning("tuning.space does not contain the shipped configuration: the first trial is drawn.")
        return study


def _require_no_mlflow(storage: str) -> None:
    """Raises `RuntimeError` on a database of MLflow, before Optuna leaves its tables in it and fails."""
    if inspect(create_engine(storage, poolclass=NullPool)).has_table("experiments"):
        raise RuntimeError("it has the tables of MLflow")


class _SeededSampler(TPESampler):
    """Optuna's TPE, seeded anew for every trial by its slot: a resumed study draws what it would have drawn."""

    def __init__(self, seed: int, startup: int) -> None:
        super().__init__(seed=seed, n_startup_trials=startup)
        self._seed, self._startup = seed, startup

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().__init__(seed=self._seed + slot_of(study, trial.number), n_startup_trials=self._startup)


def counted(study: Study) -> list[FrozenTrial]:
    """The trials that count, in the order of their slots: of an interrupted trial and its copies, the last."""
    trials = study.get_trials(deepcopy=False)
    return list({trial.system_attrs.get("failed_trial", trial.number): trial for trial in trials}.values())


def slot_of(study: Study, number: int) -> int:
    """The slot of a trial that counts, from 0."""
    return [trial.number for trial in counted(study)].index(number)


def try_again(study: Study, trial: FrozenTrial) -> None:
    """Queues a copy of an interrupted trial, without what the trial has recorded."""
    trial.user_attrs = {}
    RetryHeartbeatStaleTrialCallback()(study, trial)
