"""Typed configuration of tuning. Imports neither torch nor Optuna, so that the command line starts fast."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from pinet_kedro.configuration import LARGEST, Configuration, Processes, Seed, Text

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr | None
# A dimension is open only where other parameters have this value, or one of these.
When = dict[str, Scalar | tuple[Scalar, ...]]


class FloatRange(Configuration):
    """A number between two bounds."""

    type: Literal["float"] = "float"
    when: When = Field({})
    low: float
    high: float
    log: bool = Field(False, description="uniform in the logarithm")

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must lie below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, got {self.low}")
        return self


class IntRange(FloatRange):
    """A whole number between two bounds, both included."""

    type: Literal["int"] = "int"  # type: ignore[assignment]
    low: StrictInt
    high: StrictInt


class Categorical(Configuration):
    """One of several values."""

    type: Literal["categorical"] = "categorical"
    when: When = Field({})
    choices: tuple[Scalar, ...] = Field(min_length=1)


Dimension = Annotated[FloatRange | IntRange | Categorical, Field(discriminator="type")]


class Pruning(Configuration):
    """When an unpromising trial is stopped early."""

    from_epoch: int = Field(4, ge=1, le=100_000, description="no trial is stopped before this epoch")
    quantile: float = Field(0.5, ge=0, lt=1, description="stop below it in every objective; 0 stops none")
    least: int = Field(5, ge=1, le=100_000, description="trials that must have reached the epoch")


class Finalists(Configuration):
    """How many trials are trained again in full, and on which seeds; more seeds give narrower intervals."""

    count: int = Field(2, ge=1, le=100_000)
    seeds: tuple[Seed, ...] = Field((101, 102), min_length=1)


class Tuning(Configuration):
    """What a study tries, how long, and how the winner is chosen."""

    trials: int = Field(18, ge=1, le=100_000, description="in total; a study that is run again continues up to it")
    workers: Processes = Field(2, description="processes, each with `backbone_training.threads` threads")
    objective: Literal["head_and_tail", "tail"] = Field(
        "head_and_tail", description="tail: maximise it where the head is not below that of the base"
    )
    joint: bool = Field(False, description="tune the base instead: joint training, no aggregation")
    epochs: int = Field(24, ge=1, le=100_000, description="of a trial; never more than a full training has")
    validate_every: int = Field(4, ge=1, le=100_000, description="epochs between validations of a trial")
    seed: Seed = Field(1, description="of the sampler, and of the first trial's training; each next one has 1 more")
    startup: int = Field(6, ge=1, le=100_000, description="random trials before the sampler uses results")
    pruning: Pruning = Pruning()
    failures: int = Field(5, ge=1, le=100_000, description="failed trials in a row that end the run")
    stale_minutes: float = Field(
        5.0, gt=0, le=525_600, description="minutes without a heartbeat after which a trial of another machine is dead"
    )
    storage: Text | None = Field(None, description="URL of a database; null: an SQLite file in `folder`")
    folder: Text = Field("data/07_model_output/tuning", description="of the trials and the finalists' models")
    finalists: Finalists = Finalists()
    tail_weight: float = Field(0.5, ge=0, le=1, description="two objectives: weight of the tail in the choice")
    choose: int | None = Field(None, ge=0, le=LARGEST, description="number of a trial to take; null: best finalist")
    space: dict[str, Dimension | None] = Field(min_length=1, description="by dotted name; null leaves one out")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.epochs % self.validate_every:
            raise ValueError(f"epochs ({self.epochs}) must be a multiple of validate_every ({self.validate_every})")
        if len(set(self.finalists.seeds)) < len(self.finalists.seeds):
            raise ValueError("finalists.seeds must differ: one seed twice is one result counted twice")
        seen = set(range(self.seed, self.seed + self.trials)) & set(self.finalists.seeds)
        if seen:
            raise ValueError(f"finalists.seeds must be fresh, but trials are trained on {sorted(seen)} as well")
        return self
