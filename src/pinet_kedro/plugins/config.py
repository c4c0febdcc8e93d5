"""Typed configuration of the plugins; free of torch, so that the command line can read it at no cost."""

from typing import Literal

from pydantic import Field, model_validator

from pinet_kedro.configuration import Configuration


class MemoryConfig(Configuration):
    """The item-transition memory; the formula stands in `memory.py`."""

    max_lag: int = Field(10, ge=1, description="events apart at which a transition still counts")
    lag_exponent: float = Field(0.5, ge=0, description="a transition at lag k counts k^-exponent")
    reverse: float = Field(0.5, ge=0, description="weight of the transition read backwards")
    neighbours: int = Field(2000, ge=1, description="strongest entries kept for an item, 8 bytes each")
    window: int = Field(10, ge=1, description="newest events of a user that are looked up")
    decay: float = Field(0.85, gt=0, le=1, description="weight lost with every event of age")


class MemorySearch(Configuration):
    """Settings of the memory that are tried on validation targets, one dial after the other (`training/scorers.py`)."""

    max_lag: tuple[int, ...] = (3, 10, 20)
    window: tuple[int, ...] = (5, 10, 20)
    decay: tuple[float, ...] = (0.7, 0.85, 0.95)
    users: int = Field(5000, ge=1, description="at most so many validation targets, drawn at random")


class FactorsConfig(Configuration):
    """The factors of items; the formula stands in `factors.py`."""

    factors: int = Field(64, ge=1)
    regularization: float = Field(10.0, gt=0, description="λ")
    confidence: float = Field(20.0, gt=1, description="c: weight of an event against that of none")
    iterations: int = Field(15, ge=1)
    window: int = Field(50, ge=1, description="newest events of a user that are folded in")
    seed: int = 1


class PluginTraining(Configuration):
    """How the strata's prediction networks are fitted on the frozen backbone."""

    kind: Literal["logit_space", "state_space"] = "logit_space"
    backbone: bool = Field(True, description="logit_space: false leaves the backbone's scores out, an ablation")
    hard_candidates: int = Field(
        200, ge=1, description="highest-scored items on offer to a user, all of them in the loss"
    )
    random_candidates: int = Field(300, ge=1, description="drawn from the rest of the catalogue, weighted up to it")
    ridge: float = Field(20.0, ge=0, description="pull towards what all strata share: ridge / users · ‖θ − θ_shared‖²")
    folds: int = Field(5, ge=2, description="cross-validation that decides between no, the shared and an own plugin")
    rank: int = Field(8, ge=1, description="state_space: width of the residual network")
    seed: int = 1
    memory: MemoryConfig = MemoryConfig()
    memory_search: MemorySearch | None = Field(MemorySearch(), description="null: the memory as it is given")
    factors: FactorsConfig | None = Field(FactorsConfig(), description="null: none")

    @model_validator(mode="after")
    def _state_needs_backbone(self) -> "PluginTraining":
        if self.kind == "state_space" and not self.backbone:
            raise ValueError("state_space is a network on the backbone's state: it takes backbone: true")
        return self
