"""Typed configurations of the aggregation rules; free of torch, so that the command line can read them at no cost."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pinet_kedro.configuration import Configuration


class DeconfoundedConfig(Configuration):
    """Dials of deconfounded gradient aggregation; the formula stands in `deconfounded.py`."""

    rule: Literal["deconfounded"] = "deconfounded"
    strength: float = Field(0.1, ge=0, le=1, description="λ: 0 = the confounded prior, 1 = each stratum's user share")
    decay: float = Field(0.95, ge=0, lt=1, description="β of the moving average whose consensus is measured")
    temperature: float | None = Field(
        1.0, gt=0, le=1e6, description="τ of the consensus; null = infinite (no consensus)"
    )
    gate: bool = Field(True, description="drop a stratum that opposes the mean direction")
    scope: Literal["tensor", "global"] = Field("tensor", description="consensus for each parameter tensor, or once")
    parameters: Literal["all", "body"] = Field("all", description="body: item embeddings get the joint gradient")


class BackdoorConfig(Configuration):
    """Plain backdoor adjustment: the gradient of the prior-weighted loss (`priors.py`)."""

    rule: Literal["backdoor"] = "backdoor"
    strength: float = Field(0.1, ge=0, le=1, description="λ: 0 = the confounded prior, 1 = each stratum's user share")


class BalancedConfig(Configuration):
    """Every stratum counts alike (`priors.py`)."""

    rule: Literal["balanced"] = "balanced"


class EffectiveNumberConfig(Configuration):
    """Every stratum by the effective number of its events (`priors.py`)."""

    rule: Literal["effective_number"] = "effective_number"
    overlap: float = Field(0.9999, ge=0, lt=1, description="β: 0 = joint training, towards 1 = balanced")


class GroupDROConfig(Configuration):
    """Strata by their losses, so that the worst one is minimised (`group_dro.py`)."""

    rule: Literal["group_dro"] = "group_dro"
    step_size: float = Field(0.01, gt=0, le=1000, description="η of the weights' exponentiated ascent")


class _OfRows(Configuration):
    """What every rule on a matrix of gradients has."""

    rows: Literal["mean", "share"] = Field(
        "mean",
        description="a stratum's row: the gradient of its mean loss, as the rules' papers have it, or that times its "
        "share of the step's interactions, so that strata without conflict add up to joint training",
    )


class AgrSumConfig(_OfRows):
    """Coordinates on which all strata agree in sign (`agreement.py`)."""

    rule: Literal["agr_sum"] = "agr_sum"


class AgrRandConfig(_OfRows):
    """Agr-Sum with random numbers where strata disagree (`agreement.py`)."""

    rule: Literal["agr_rand"] = "agr_rand"


class ReptileConfig(_OfRows):
    """Strata visited one after the other, each from where the last one led (`reptile.py`)."""

    rule: Literal["reptile"] = "reptile"
    inner_rate: float = Field(
        1.0, gt=0, le=1000, description="α of the steps within a step; towards 0 = the weighted loss"
    )


class TorchJDConfig(_OfRows):
    """An aggregator of torchjd by the name of its class (`library.py`)."""

    rule: Literal["torchjd"] = "torchjd"
    name: str = Field(description="a class of torchjd.aggregation, such as PCGrad, CAGrad, UPGrad, MGDA or GradVac")
    options: dict[str, Any] = Field(
        {}, description="arguments of that class, such as {c: 0.5} for CAGrad; a list is a tensor, one number a stratum"
    )

    @model_validator(mode="after")
    def _buildable(self) -> "TorchJDConfig":
        # Imported only where it is needed: torch takes seconds.
        from pinet_kedro.aggregation.library import build_aggregator

        build_aggregator(self.name, self.options, groups=2)
        return self


def _named(settings: Any) -> Any:
    """Dials without a rule are those of deconfounded aggregation."""
    return {"rule": "deconfounded", **settings} if isinstance(settings, dict) else settings


AggregationConfig = Annotated[
    DeconfoundedConfig
    | BackdoorConfig
    | BalancedConfig
    | EffectiveNumberConfig
    | GroupDROConfig
    | AgrSumConfig
    | AgrRandConfig
    | ReptileConfig
    | TorchJDConfig,
    Field(discriminator="rule"),
    BeforeValidator(_named),
]
