"""What a study is: the data, what is fixed, what is tried; its name says all of that."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pinet_kedro.aggregation.config import AggregationConfig
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.parameters import plain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.project import project_folder
from pinet_kedro.provenance import method_version
from pinet_kedro.studies.tuning.config import Tuning
from pinet_kedro.studies.tuning.space import Space, build_space
from pinet_kedro.tracking.server import cause, public
from pinet_kedro.training.config import BackboneTraining

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

log = logging.getLogger("pinet_kedro")

# What may change without making another study: how far it goes, and what is done with its trials.
_OPEN = {"trials", "workers", "failures", "stale_minutes", "storage", "folder", "finalists", "tail_weight", "choose"}


@dataclass(frozen=True)
class Plan:
    """A study: `name` changes with all that a trial's result depends on, code included, and with nothing else."""

    config: Tuning
    training: BackboneTraining
    plugins: PluginTraining
    data: Dataset
    folder: Path = field(default_factory=project_folder)

    @cached_property
    def space(self) -> Space:
        return build_space(self.config.space, self.training, self.plugins, self.config.joint)

    @cached_property
    def name(self) -> str:
        training = plain(self.training)
        for machine in ("threads", "device"):
            del training[machine]
        training["schedule"]["epochs"] = self.epochs
        told = {
            "data": self.data.split_sha256,
            "strata": plain(self.data.strata),
            "training": training,
            "plugins": plain(self.plugins) if self.space.tunes_plugins else None,
            "tuning": {key: value for key, value in plain(self.config).items() if key not in _OPEN},
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        return f"{'base' if self.config.joint else 'backbone'}-{digest}-{method_version()}"

    @property
    def epochs(self) -> int:
        """Of a trial."""
        return min(self.config.epochs, self.training.schedule.epochs)

    @property
    def shipped_joint(self) -> bool:
        """Whether the shipped configuration, as far as this study is concerned, is the base."""
        return self.config.joint or self.training.aggregation is None

    @property
    def two_objectives(self) -> bool:
        return self.config.objective == "head_and_tail"

    @property
    def results(self) -> Path:
        """Folder of the journal and of the retrained finalists."""
        return self.folder / self.config.folder

    @property
    def address(self) -> str:
        """Where the trials are kept, without credentials."""
        return public(self.config.storage) if self.config.storage else f"{self.config.folder}/{self._journal.name}"

    @property
    def _journal(self) -> Path:
        return self.results / f"{self.name}.journal"

    def aggregation(self, training: BackboneTraining) -> AggregationConfig | None:
        """What a trial of this configuration aggregates gradients by; None: it is trained jointly."""
        return None if self.config.joint else training.aggregation

    def short(self, training: BackboneTraining, seed: int) -> BackboneTraining:
        """The configuration under a trial's budget."""
        changes = {"epochs": self.epochs, "validate_every": self.config.validate_every}
        return training.model_copy(update={"seed": seed, "schedule": training.schedule.model_copy(update=changes)})

    def create(self) -> "Study":
        """The study, new or as it was left."""
        import optuna

        self._name_others()
        directions: list[Literal["maximize"]] = ["maximize" for _ in self.metrics]
        with self._sentence():
            study = optuna.create_study(
                storage=self._storage(), study_name=self.name, directions=directions, load_if_exists=True,
                **self._methods(),
            )  # fmt: skip
            study.set_metric_names(self.metrics)
            return study

    def _name_others(self) -> None:
        """The same study by other code is not resumed, for its trials are no results of this one; it is named."""
        same = self.name.rpartition("-")[0]
        if self.config.storage:
            import optuna

            with self._sentence():
                names = optuna.get_all_study_names(self._storage())
        else:
            names = [path.stem for path in self.results.glob("*.journal")]
        if others := sorted(n for n in names if n != self.name and (n == same or n.rpartition("-")[0] == same)):
            log.warning("Trials by other code are not used, but left where they are: study %s.", ", ".join(others))

    def load(self) -> "Study":
        """The study that `create` has made, for a worker."""
        import optuna

        with self._sentence():
            return optuna.load_study(storage=self._storage(), study_name=self.name, **self._methods())

    @property
    def metrics(self) -> list[str]:
        """Names of the objectives."""
        return ["head", "tail"] if self.two_objectives else ["tail"]

    def _methods(self) -> dict[str, Any]:
        import optuna

        from pinet_kedro.studies.tuning.sampling import SeededSampler

        pruning = self.config.pruning
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if not self.two_objectives and self.epochs > pruning.from_epoch:
            pruner = optuna.pruners.HyperbandPruner(pruning.from_epoch, self.epochs, pruning.reduction)
        return {"sampler": SeededSampler(self.config.seed, self.config.startup), "pruner": pruner}

    def _storage(self) -> "BaseStorage":
        import warnings

        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # trials are said by the project's own log
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if self.config.storage:
            return optuna.storages.RDBStorage(self.config.storage)
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        self._journal.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(self._journal)))

    @contextmanager
    def _sentence(self) -> Iterator[None]:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError, ImportError) as error:
            raise InputError(
                f"The storage of the study, {self.address} (tuning.storage), cannot be used: {cause(error)}."
            ) from error
