"""Typed configuration of backbone training; free of torch, so that the command line can read it at no cost."""

from pydantic import Field

from pinet_kedro.aggregation.config import AggregationConfig, DeconfoundedConfig
from pinet_kedro.backbones.config import BackboneConfig, SASRecConfig
from pinet_kedro.configuration import Configuration
from pinet_kedro.losses.config import FullSoftmaxConfig, LossConfig


class Schedule(Configuration):
    """A fixed budget: short patience has made false differences of 10–20 % between methods."""

    epochs: int = Field(48, ge=1)
    batch_users: int = Field(64, ge=1, description="users a step, all strata together")
    learning_rate: float = Field(2e-3, gt=0)
    weight_average: float = Field(0.98, ge=0, lt=1, description="decay of the averaged weights, which are the result")
    random_window: float = Field(0.5, ge=0, le=1, description="share of long histories read at a random place")
    validate_every: int = Field(4, ge=1, description="epochs between validations")
    validation_users: int = Field(5000, ge=1, description="at most so many users in the validation curve")


class BackboneTraining(Configuration):
    """Everything that base and backbone share, and the aggregation that only the backbone uses."""

    seed: int = 1
    threads: int | None = Field(1, ge=1, description="torch threads; null leaves torch's own choice")
    device: str = Field("cpu", description="torch device, such as cpu or cuda")
    backbone: BackboneConfig = SASRecConfig()
    loss: LossConfig = FullSoftmaxConfig()
    schedule: Schedule = Schedule()
    aggregation: AggregationConfig = DeconfoundedConfig()
