"""Several trainings on one dataset, at once where the machine allows it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
import torch.distributed as dist

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.divergence import store_best_on_divergence
from pinet_kedro.pipelines.backbone_training.hosts import lead
from pinet_kedro.pipelines.backbone_training.spread import cores, spread
from pinet_kedro.processes.beside import Several
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.tracking.watching import watch_training
from pinet_kedro.training.backbone import EpochReport, OnEpoch, backbone_memory, train_backbone
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.memory import free_bytes

# Training events times epochs; with fewer, a process takes longer to start than it saves.
_WORTH_A_PROCESS = 1_000_000


@dataclass(frozen=True)
class Training:
    """One training: its configuration, where it starts (None: new weights), and what gets its reports.

    `guard` is entered while this training's errors may be raised.
    """

    dataset: Dataset
    config: BackboneTraining
    start: Backbone | None
    on_epoch: OnEpoch
    guard: Callable[[], AbstractContextManager]

    def here(self, on_epoch: OnEpoch | None = None) -> Backbone:
        """The trained backbone, from this process, from several where it is configured so, or from all of torchrun."""
        on_epoch = on_epoch or self.on_epoch
        with self.guard():
            if dist.is_initialized():
                return lead(self.dataset, self.config, on_epoch, self.start)
            if self.config.processes == 1:
                return train_backbone(self.dataset, self.config, on_epoch, self.start)
            if self.config.threads:
                torch.set_num_threads(self.config.threads)  # as training here does: later stages round alike
            with spread(self.dataset, self.config, self.start) as processes:
                for report in processes.messages(wait=True):
                    on_epoch(report)
                return processes.result()

    def pass_on(self, processes: Several, wait: bool = False) -> None:
        """Passes on the reports that have arrived from its processes, or all until they have ended."""
        with self.guard():
            for report in processes.messages(wait):
                self.on_epoch(report)


def train_watched(
    configs: Mapping[str, BackboneTraining],
    dataset: Dataset,
    starts: Mapping[str, Backbone],
    run: MlflowRun | None,
    folder: str = "data/06_models",
) -> dict[str, tuple[Backbone, pd.DataFrame]]:
    """The trained backbone of every configuration and its learning curve, under their names.

    Those without one of the `starts` begin with new weights. Each has a progress bar, and metrics in the MLflow run if
    there is one. A training that diverges leaves its best model in `<folder>/diverged_<name>`.
    """
    with ExitStack() as stack:
        watches = {name: stack.enter_context(watch_training(name, run)) for name in configs}
        trained = train_together(
            {
                name: Training(
                    dataset, config, starts.get(name), watches[name],
                    partial(store_best_on_divergence, f"{folder}/diverged_{name}", dataset),
                )
                for name, config in configs.items()
            }
        )  # fmt: skip
    return {name: (backbone, watches[name].curve()) for name, backbone in trained.items()}


class _OfAnotherError(Exception):
    """Carries the error of another training past the guard of the one in this process."""


def train_together(trainings: Mapping[str, Training]) -> dict[str, Backbone]:
    """The trained backbones: the first from this process, the others each from a process (or several) of its own.

    One after the other instead if the machine has too few cores or too little memory for all, or if training is too
    short to be worth a process. The weights are the same. All reports are passed on by this process.
    """
    if len(trainings) < 2 or not _worth_processes(list(trainings.values())):
        return {name: training.here() for name, training in trainings.items()}
    first, *others = trainings
    with ExitStack() as stack:
        processes = {}
        for name in others:
            job = trainings[name]
            processes[name] = stack.enter_context(spread(job.dataset, job.config, job.start))

        def on_epoch(report: EpochReport) -> None:
            trainings[first].on_epoch(report)
            for name, process in processes.items():
                try:
                    trainings[name].pass_on(process)
                except Exception as error:
                    raise _OfAnotherError from error

        try:
            trained = {first: trainings[first].here(on_epoch)}
        except _OfAnotherError as carrier:
            raise carrier.__cause__ or carrier from None
        for name, process in processes.items():
            trainings[name].pass_on(process, wait=True)
            trained[name] = process.result()
    return trained


def _worth_processes(trainings: list[Training]) -> bool:
    if dist.is_initialized() or any(t.config.device != "cpu" or t.config.threads is None for t in trainings):
        return False
    work = max(t.config.schedule.epochs * int(t.dataset.split.train_end.sum()) for t in trainings)
    threads = sum(t.config.processes * (t.config.threads or 1) for t in trainings)
    memory = sum(t.config.processes * need.bytes for t in trainings for need in backbone_memory(t.dataset, t.config))
    return work >= _WORTH_A_PROCESS and threads <= cores() and memory <= free_bytes()
