"""Typed configuration of backbone training. This file does not import torch, so the command line reads it quickly."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pinet_kedro.aggregation.config import AggregationConfig, BackdoorConfig
from pinet_kedro.backbones.config import BackboneConfig, SASRecConfig
from pinet_kedro.configuration import Configuration, Count, Processes, Seed, Text, Threads
from pinet_kedro.losses.config import FullSoftmaxConfig, LossConfig

# From this number of items, a dense step spends most of its time on items that are not in it.
_LAZY_FROM = 100_000
# Settings of the machine: a stored result is used whatever they were.
OF_THE_MACHINE = ("threads", "device", "processes")


class TrainingSchedule(Configuration):
    """A fixed budget, because early stopping caused false differences of 10–20 % between methods."""

    epochs: int = Field(48, ge=1, le=100_000)
    batch_users: Count = Field(64, description="users per step, all strata together")
    learning_rate: float = Field(2e-3, gt=0, le=1e30)  # a run that diverges reports it and stores its best model
    weight_average: float = Field(
        0.98, ge=0, lt=1, description="decay of the moving average of weights, which is the trained model"
    )
    random_window: float = Field(0.5, ge=0, le=1, description="share of long histories read at a random place")
    # Omitted when 'auto', so that hashes computed before this field existed stay valid.
    item_updates: Literal["auto", "dense", "lazy"] = Field(
        "auto",
        exclude_if=lambda value: value == "auto",
        description="items that are not in a step: dense = Adam's momentum still moves them, which costs time for the "
        "whole catalogue; lazy = they do not change; auto = lazy from 100,000 items on, if the loss draws items",
    )
    validate_every: Count = Field(4, description="epochs between validations")
    validation_users: Count = Field(5000, description="at most this many users in the validation curve")


class BackboneTraining(Configuration):
    """The training of the base (joint, without the aggregation) and of the backbone with the aggregation.

    With `aggregation = None` the base is the only backbone.
    """

    seed: Seed = 1
    threads: Threads | None = Field(1, description="torch threads; null: torch decides")
    device: Text = Field("cpu", description="torch device, such as cpu or cuda")
    # Omitted when 1, so that hashes computed before this field existed stay valid.
    processes: Processes = Field(
        1,
        exclude_if=lambda value: value == 1,
        description="processes of this machine that share the users of every step, each with `threads` threads or, "
        "where the device is cuda, a GPU of its own",
    )
    backbone: BackboneConfig = SASRecConfig()
    loss: LossConfig = FullSoftmaxConfig()
    schedule: TrainingSchedule = TrainingSchedule()
    aggregation: AggregationConfig | None = BackdoorConfig()

    @model_validator(mode="after")
    def _lazy_needs_a_draw(self) -> "BackboneTraining":
        if self.schedule.item_updates == "lazy" and isinstance(self.loss, FullSoftmaxConfig):
            raise ValueError("schedule.item_updates: lazy needs a loss that draws items; full_softmax uses all of them")
        return self

    @model_validator(mode="after")
    def _every_process_has_its_own(self) -> "BackboneTraining":
        if self.processes > 1 and self.threads is None:
            raise ValueError("with several processes threads must be a number: null gives each of them all cores")
        if self.processes > 1 and ":" in self.device:
            kind = self.device.partition(":")[0]
            raise ValueError(f"with several processes device must be {kind}: {self.device} is a single one")
        return self

    def joint(self) -> "BackboneTraining":
        """The same training without an aggregation, as for the base."""
        return self.model_copy(update={"aggregation": None})

    def anywhere(self) -> "BackboneTraining":
        """The same training with the default settings of the machine; results are named after it."""
        return self.model_copy(update={name: type(self).model_fields[name].default for name in OF_THE_MACHINE})

    def lazy(self, n_items: int) -> bool:
        """Whether training on a catalogue of this size uses lazy updates."""
        if self.schedule.item_updates == "auto":
            return n_items >= _LAZY_FROM and not isinstance(self.loss, FullSoftmaxConfig)
        return self.schedule.item_updates == "lazy"


class GradientNoise(Configuration):
    """When, and how precisely, the noise of the strata's gradients is measured during the training of the base."""

    seed: Seed = 1
    checkpoints: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.0, 0.5, 1.0), min_length=1, description="shares of the epochs; 0 = after the first one"
    )
    blocks: int = Field(16, ge=3, le=10_000, description="groups of rounds, for the standard errors")
    rounds: int = Field(16, ge=2, le=100_000, description="rounds per block, each with the users of one step")
    dropout: bool = Field(True, description="as in a training step; false: only the noise of sampling users")
    cosine: float = Field(
        0.9, gt=0, lt=1, description="with the true gradient; the number of users that reaches it is estimated"
    )

    def epochs(self, of: int) -> list[int]:
        """The epochs after which the noise is measured."""
        return sorted({max(1, round(share * of)) for share in self.checkpoints})
