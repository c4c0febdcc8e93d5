"""What a study is: the data, what is fixed, what is tuned; its name changes with all of that."""

import hashlib
import json
import logging
import math
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.project import project_folder
from pinet_kedro.provenance import method_version
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.studies.tuning.space import SearchSpace, build_space
from pinet_kedro.tracking.server import cause, public
from pinet_kedro.training.config import BackboneTraining

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage

log = logging.getLogger("pinet_kedro")

# These may change without making another study: how far it goes, and what is done with its trials.
_OPEN = {"trials", "workers", "failures", "stale_minutes", "storage", "folder", "finalists", "tail_weight", "choose"}


@dataclass(frozen=True)
class StudyPlan:
    """A study. `name` changes with everything that a trial's result depends on, code included, and nothing else."""

    config: Tuning
    training: BackboneTraining
    plugins: PluginTraining
    dataset: Dataset
    folder: Path = field(default_factory=project_folder)

    @cached_property
    def space(self) -> SearchSpace:
        return build_space(self.config.space, self.training, self.plugins, self.config.joint)

    @cached_property
    def name(self) -> str:
        fixed = plain(self.short(self.training, self.training.seed))
        for machine in ("threads", "device"):
            del fixed[machine]
        content = {
            "data": self.dataset.split_sha256,
            "strata": plain(self.dataset.strata),
            "training": fixed,
            "plugins": plain(self.plugins) if self.space.tunes_plugins else None,
            "tuning": {key: value for key, value in plain(self.config).items() if key not in _OPEN},
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        return f"{'base' if self.config.joint else 'backbone'}-{digest}-{method_version()}"

    @property
    def epochs(self) -> int:
        """Of a trial."""
        return min(self.config.epochs, self.training.schedule.epochs)

    @property
    def objectives(self) -> list[str]:
        """Names of what is maximised."""
        return ["head", "tail"] if self.config.objective == "head_and_tail" else ["tail"]

    @property
    def address(self) -> str:
        """Where the trials are stored, without credentials."""
        return public(self.config.storage) if self.config.storage else f"{self.config.folder}/studies.db"

    def short(self, training: BackboneTraining, seed: int) -> BackboneTraining:
        """The configuration with a trial's seed and budget."""
        changes = {"epochs": self.epochs, "validate_every": self.config.validate_every}
        return training.model_copy(update={"seed": seed, "schedule": training.schedule.model_copy(update=changes)})

    def study(self, new: bool = False) -> "Study":
        """The study in its storage; `new` makes it where it is missing, with the shipped values for its first trial."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        from pinet_kedro.studies.tuning.queue import SeededSampler

        try:
            storage = self._storage()
            names = set(optuna.get_all_study_names(storage)) - {self.name} if new else ()
            if same := sorted(name for name in names if name.rpartition("-")[0] == self.name.rpartition("-")[0]):
                log.warning("Trials made by other code are not used and stay where they are: %s.", ", ".join(same))
            known: dict[str, Any] = {"storage": storage, "study_name": self.name}
            known["sampler"] = SeededSampler(self.config.seed, self.config.startup)
            if not new:
                return optuna.load_study(**known)
            directions: list[Literal["maximize"]] = ["maximize" for _ in self.objectives]
            study = optuna.create_study(**known, directions=directions, load_if_exists=True)
            study.set_metric_names(self.objectives)
            if not study.get_trials(deepcopy=False) and (shipped := self.space.shipped()):
                study.enqueue_trial(shipped)
            return study
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError) as error:
            raise InputError(
                f"The storage of the study, {self.address} (tuning.storage), cannot be used: {cause(error)}."
            ) from error

    def _storage(self) -> "RDBStorage":
        import optuna

        from pinet_kedro.studies.tuning.queue import try_again

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # the project's own log reports the trials
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        url, options = self.config.storage, {}
        if url is None:
            file = self.folder / self.config.folder / "studies.db"
            file.parent.mkdir(parents=True, exist_ok=True)
            url, options = f"sqlite:///{file}", {"connect_args": {"timeout": 60}}
        silence_s = math.ceil(self.config.stale_minutes * 60)
        return optuna.storages.RDBStorage(
            url, options, heartbeat_interval=min(20, math.ceil(silence_s / 3)), grace_period=silence_s,
            heartbeat_stale_trial_callback=try_again,
        )  # fmt: skip
