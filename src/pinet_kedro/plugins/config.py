"""Typed configuration of the plugins; free of torch, so that the command line can read it at no cost."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pinet_kedro.configuration import Configuration, Count, Seed

Lag = Annotated[int, Field(ge=1, le=1_000_000)]
Window = Annotated[int, Field(ge=1, le=1_000_000)]
Decay = Annotated[float, Field(gt=0, le=1)]


class MemoryConfig(Configuration):
    """The item-transition memory; the formula stands in `memory.py`."""

    max_lag: Lag = Field(10, description="events apart at which a transition still counts")
    lag_exponent: float = Field(0.5, ge=0, le=100, description="a transition at lag k counts k^-exponent")
    reverse: float = Field(0.5, ge=0, le=1000, description="weight of the transition read backwards")
    neighbours: Count = Field(2000, description="strongest entries kept for an item, 8 bytes each")
    window: Window = Field(10, description="newest events of a user that are looked up")
    decay: Decay = Field(0.85, description="weight lost with every event of age")


class MemorySearch(Configuration):
    """Settings of the memory that are tried on validation targets, one dial after the other (`training/scorers.py`)."""

    max_lag: tuple[Lag, ...] = (3, 10, 20)
    window: tuple[Window, ...] = (5, 10, 20)
    decay: tuple[Decay, ...] = (0.7, 0.85, 0.95)
    users: Count = Field(5000, description="at most so many validation targets, drawn at random")


class FactorsConfig(Configuration):
    """The factors of items; the formula stands in `factors.py`."""

    factors: Count = 64
    regularization: float = Field(10.0, gt=0, le=1e9, description="λ")
    confidence: float = Field(20.0, gt=1, le=1e6, description="c: weight of an event against that of none")
    iterations: int = Field(15, ge=1, le=10_000)
    window: Window = Field(50, description="newest events of a user that are folded in")
    seed: Seed = 1


class PluginTraining(Configuration):
    """How the strata's prediction networks are fitted on the frozen backbone."""

    kind: Literal["logit_space", "state_space"] = "logit_space"
    backbone: bool = Field(True, description="logit_space: false leaves the backbone's scores out, an ablation")
    hard_candidates: Count = Field(200, description="highest-scored items on offer to a user, all in the loss")
    random_candidates: Count = Field(300, description="drawn from the rest of the catalogue, weighted up to it")
    ridge: float = Field(
        20.0, ge=0, le=1e9, description="pull towards what all strata share: ridge / users · ‖θ − θ_shared‖²"
    )
    folds: int = Field(
        5, ge=2, le=1000, description="cross-validation that decides between no, the shared and an own plugin"
    )
    rank: Count = Field(8, description="state_space: width of the residual network")
    seed: Seed = 1
    memory: MemoryConfig = MemoryConfig()
    memory_search: MemorySearch | None = Field(MemorySearch(), description="null: the memory as it is given")
    factors: FactorsConfig | None = Field(FactorsConfig(), description="null: none")

    @model_validator(mode="after")
    def _state_needs_backbone(self) -> "PluginTraining":
        if self.kind == "state_space" and not self.backbone:
            raise ValueError("state_space is a network on the backbone's state: it takes backbone: true")
        return self
