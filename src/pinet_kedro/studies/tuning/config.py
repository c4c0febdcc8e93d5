"""Typed configuration of tuning; free of torch and optuna, so that the command line can read it at no cost."""

from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator, model_validator

from pinet_kedro.configuration import LARGEST, Configuration, Processes, Seed, Text

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr | None


class _Dimension(Configuration):
    """What is tried for one parameter."""

    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        {}, description="only where other parameters have this value, or one of these"
    )


class _Range(_Dimension):
    """Numbers between two bounds."""

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


class FloatRange(_Range):
    """Any number between two bounds."""

    type: Literal["float"] = "float"


class IntRange(_Range):
    """A whole number between two bounds, both included."""

    type: Literal["int"] = "int"
    low: StrictInt
    high: StrictInt


class Categorical(_Dimension):
    """One of several values."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[Scalar, ...] = Field(min_length=1)


Dimension = Annotated[FloatRange | IntRange | Categorical, Field(discriminator="type")]


class Pruning(Configuration):
    """When a trial that shows no promise is given up (`pruning.py`)."""

    from_epoch: int = Field(4, ge=1, le=100_000, description="no trial is given up before")
    quantile: float = Field(
        0.5, ge=0, lt=1, description="two objectives: below this quantile of the others in both; 0 gives up none"
    )
    least: int = Field(5, ge=1, le=100_000, description="two objectives: trials that must have come that far before")
    reduction: int = Field(3, ge=2, le=1000, description="one objective: Hyperband's reduction factor")


class Finalists(Configuration):
    """Who is trained again, in full and on seeds that no trial had; more seeds leave less doubt."""

    count: int = Field(2, ge=1, le=100_000)
    seeds: tuple[Seed, ...] = Field((101, 102), min_length=1)

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("seeds must differ: one seed twice is one result counted twice")
        return seeds


class Tuning(Configuration):
    """What a study tries, how long, and what becomes of it."""

    trials: int = Field(
        18, ge=1, le=100_000, description="in total: a study that is run again goes on until it has so many"
    )
    workers: Processes = Field(2, description="processes, each with `backbone_training.threads` of its own")
    objective: Literal["head_and_tail", "tail"] = Field(
        "head_and_tail", description="tail: with the head not below that of the base"
    )
    joint: bool = Field(False, description="tunes the base instead: joint training, no aggregation")
    epochs: int = Field(24, ge=1, le=100_000, description="of a trial; never more than a full training has")
    validate_every: int = Field(4, ge=1, le=100_000, description="epochs between looks at a trial")
    seed: Seed = Field(1, description="of the sampler, and of the first trial's training; the next one's is 1 more")
    startup: int = Field(6, ge=1, le=100_000, description="trials drawn at random before the sampler learns from them")
    pruning: Pruning = Pruning()
    failures: int = Field(5, ge=1, le=100_000, description="failed trials in a row that end the run")
    stale_minutes: float = Field(
        30.0, gt=0, le=525_600, description="silence after which a trial of another machine counts as dead"
    )
    storage: Text | None = Field(None, description="URL of a database; null: a journal in the folder")
    folder: Text = Field(
        "data/07_model_output/tuning", description="of journals and retrained finalists, in the project"
    )
    finalists: Finalists = Finalists()
    tail_weight: float = Field(0.5, ge=0, le=1, description="two objectives: what the tail counts in the choice")
    choose: int | None = Field(
        None, ge=0, le=LARGEST, description="number of the trial that is taken; null: the best finalist"
    )
    space: dict[str, Dimension | None] = Field(min_length=1, description="by dotted name; null leaves one out")

    @model_validator(mode="after")
    def _consistent(self) -> "Tuning":
        if self.epochs % self.validate_every:
            raise ValueError(f"epochs ({self.epochs}) must be a multiple of validate_every ({self.validate_every})")
        seen = set(range(self.seed, self.seed + self.trials)) & set(self.finalists.seeds)
        if seen:
            raise ValueError(f"finalists.seeds must be fresh, but trials are trained on {sorted(seen)} as well")
        return self
