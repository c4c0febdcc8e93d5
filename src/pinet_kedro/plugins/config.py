"""Typed configuration of the plugins. This file does not import torch, so the command line reads it quickly."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pinet_kedro.configuration import Configuration, Count, Seed

Lag = Annotated[int, Field(ge=1, le=1_000_000)]
Window = Annotated[int, Field(ge=1, le=1_000_000)]
Decay = Annotated[float, Field(gt=0, le=1)]


class MemoryConfig(Configuration):
    """The item-transition memory; `memory.py` has the formula."""

    max_lag: Lag = Field(10, description="largest distance, in events, of a transition")
    lag_exponent: float = Field(0.5, ge=0, le=100, description="a transition at lag k has the weight k^-exponent")
    reverse: float = Field(0.5, ge=0, le=1000, description="weight of reversed transitions")
    neighbours: Count = Field(2000, description="strongest entries kept per item, 8 bytes each")
    window: Window = Field(10, description="newest events of a user that are used")
    decay: Decay = Field(0.85, description="factor per event of age")


class MemorySearch(Configuration):
    """Values of the memory tried on validation targets, one parameter after the other (`fitting/scorers.py`)."""

    max_lag: tuple[Lag, ...] = (3, 10, 20)
    window: tuple[Window, ...] = (5, 10, 20)
    decay: tuple[Decay, ...] = (0.7, 0.85, 0.95)
    users: Count = Field(5000, description="at most this many validation targets, drawn at random")


class FactorsConfig(Configuration):
    """The factors of items; `factors.py` has the formula."""

    factors: Count = 64
    regularization: float = Field(10.0, gt=0, le=1e9, description="λ")
    confidence: float = Field(
        20.0, gt=1, le=1e6, description="c: weight of an item with events, relative to one without"
    )
    iterations: int = Field(15, ge=1, le=10_000)
    window: Window = Field(50, description="newest events of a user from which the user's factors are computed")
    seed: Seed = 1


class CategoriesConfig(Configuration):
    """The score of rare items by their categories; `categories.py` has the formula."""

    # What items with more events lose in NDCG@10 in tests/benchmarks/cold_items.py: 0.0027 with 5, 0.0019 with 1.
    coldness: float = Field(1.0, gt=0, le=1e6, description="c: an item with so many training events has half the score")
    shrinkage: float = Field(5.0, gt=0, le=1e6, description="m: events that a history must outweigh")
    window: Window = Field(50, description="newest events of a user that are used")


class PluginTraining(Configuration):
    """How plugins, the prediction networks of the strata, are fitted on the frozen backbone."""

    kind: Literal["logit_space", "state_space"] = "logit_space"
    backbone: bool = Field(True, description="logit_space: false ignores the scores of the backbone (an ablation)")
    hard_candidates: Count = Field(200, description="items with the highest scores for a user, all in the loss")
    random_candidates: Count = Field(300, description="drawn from all other items and weighted to represent them")
    ridge: float = Field(
        20.0, ge=0, le=1e9, description="penalty on the distance from the shared fit: ridge / users · ‖θ − θ_shared‖²"
    )
    folds: int = Field(
        5,
        ge=2,
        le=1000,
        description="of the cross-validation that chooses, per stratum, no plugin, the shared one or its own",
    )
    rank: Count = Field(8, description="state_space: width of the residual network")
    seed: Seed = 1
    memory: MemoryConfig = MemoryConfig()
    memory_search: MemorySearch | None = Field(MemorySearch(), description="null: no search")
    factors: FactorsConfig | None = Field(FactorsConfig(), description="null: no factors")
    # Omitted if empty, so that hashes computed before this field existed stay valid.
    scorers: dict[str, dict[str, Any]] = Field(
        {}, exclude_if=lambda value: not value, description="settings of further scorers, by name (`scorers.py`)"
    )

    def configured_scorers(self) -> dict[str, Configuration]:
        """The settings of all scorers beside memory and popularity, by name."""
        found: dict[str, Configuration] = {} if self.factors is None else {"factors": self.factors}
        if self.scorers:
            # Imported late: torch takes 1.5 s.
            from pinet_kedro.plugins.scorers import SCORERS

            for name, settings in self.scorers.items():
                if name not in SCORERS or name == "factors":
                    known = ", ".join(other for other in SCORERS if other != "factors") or "none"
                    raise ValueError(f"there is no scorer '{name}'; there are {known}")
                found[name] = SCORERS[name].Config.model_validate(settings)
        return found

    @model_validator(mode="after")
    def _known_scorers(self) -> "PluginTraining":
        self.configured_scorers()
        return self

    @model_validator(mode="after")
    def _state_needs_backbone(self) -> "PluginTraining":
        if self.kind == "state_space" and not self.backbone:
            raise ValueError("state_space is a network on the backbone's state: it needs backbone: true")
        return self
