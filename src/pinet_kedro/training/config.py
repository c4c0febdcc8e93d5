"""Typed configuration of backbone training; free of torch, so that the command line can read it at no cost."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pinet_kedro.aggregation.config import AggregationConfig
from pinet_kedro.backbones.config import BackboneConfig, SASRecConfig
from pinet_kedro.configuration import Configuration, Count, Seed, Text, Threads
from pinet_kedro.losses.config import FullSoftmaxConfig, LossConfig

# Items from which on a step spends more on those that it does not touch than on all others.
_LAZY_FROM = 100_000


class TrainingSchedule(Configuration):
    """A fixed budget: short patience has made false differences of 10–20 % between methods."""

    epochs: int = Field(48, ge=1, le=100_000)
    batch_users: Count = Field(64, description="users a step, all strata together")
    learning_rate: float = Field(2e-3, gt=0, le=1e30)  # a run that diverges says so and keeps its best model
    weight_average: float = Field(0.98, ge=0, lt=1, description="decay of the averaged weights, which are the result")
    random_window: float = Field(0.5, ge=0, le=1, description="share of long histories read at a random place")
    # Omitted when 'auto', so that hashes computed before this field existed stay valid.
    item_updates: Literal["auto", "dense", "lazy"] = Field(
        "auto",
        exclude_if=lambda value: value == "auto",
        description="of items that a step does not touch: dense = Adam's momentum moves them on, at the cost of the "
        "whole catalogue; lazy = they rest; auto = lazy from 100,000 items on where the loss draws items",
    )
    validate_every: Count = Field(4, description="epochs between validations")
    validation_users: Count = Field(5000, description="at most so many users in the validation curve")


class BackboneTraining(Configuration):
    """Everything that base and backbone share, and the aggregation that only the backbone uses.

    Without an aggregation the backbone is the base itself.
    """

    seed: Seed = 1
    threads: Threads | None = Field(1, description="torch threads; null leaves torch's own choice")
    device: Text = Field("cpu", description="torch device, such as cpu or cuda")
    backbone: BackboneConfig = SASRecConfig()
    loss: LossConfig = FullSoftmaxConfig()
    schedule: TrainingSchedule = TrainingSchedule()
    aggregation: AggregationConfig | None = None

    @model_validator(mode="after")
    def _lazy_needs_a_draw(self) -> "BackboneTraining":
        if self.schedule.item_updates == "lazy" and isinstance(self.loss, FullSoftmaxConfig):
            raise ValueError("schedule.item_updates: lazy needs a loss that draws items; full_softmax touches them all")
        return self

    def joint(self) -> "BackboneTraining":
        """The same training without an aggregation: that of the base."""
        return self.model_copy(update={"aggregation": None})

    def lazy(self, n_items: int) -> bool:
        """Whether a catalogue of this size gets lazy updates."""
        if self.schedule.item_updates == "auto":
            return n_items >= _LAZY_FROM and not isinstance(self.loss, FullSoftmaxConfig)
        return self.schedule.item_updates == "lazy"


class GradientNoise(Configuration):
    """When and how exactly the noise of the strata's gradients is measured while the base trains."""

    seed: Seed = 1
    checkpoints: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.0, 0.5, 1.0), min_length=1, description="shares of the epochs; 0 = after the first one"
    )
    blocks: int = Field(16, ge=3, le=10_000, description="parts of the rounds that the standard errors are from")
    rounds: int = Field(16, ge=2, le=100_000, description="rounds a block, each with a step's users of every stratum")
    dropout: bool = Field(True, description="as in a training step; false: the users' noise alone")
    cosine: float = Field(0.9, gt=0, lt=1, description="with the true gradient, for the number of users that it takes")

    def epochs(self, of: int) -> list[int]:
        """The epochs after which it is measured."""
        return sorted({max(1, round(share * of)) for share in self.checkpoints})
