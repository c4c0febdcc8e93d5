"""Typed configurations of the aggregation rules. This file does not import torch: the command line reads it quickly."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pinet_kedro.configuration import Configuration


class DeconfoundedConfig(Configuration):
    """Backdoor adjustment with a consensus of the strata; `deconfounded.py` has the formula."""

    rule: Literal["deconfounded"] = "deconfounded"
    strength: float = Field(0.1, ge=0, le=1, description="λ: 0 = the confounded prior, 1 = each stratum's user share")
    decay: float = Field(0.95, ge=0, lt=1, description="β of the moving average that determines the weights")
    temperature: float | None = Field(
        1.0, gt=0, le=1e6, description="τ of the consensus; null = infinite (no consensus)"
    )
    gate: bool = Field(True, description="drop the strata that oppose the mean direction")
    scope: Literal["tensor", "global"] = Field("tensor", description="weights per parameter tensor, or one set for all")
    parameters: Literal["all", "body"] = Field("all", description="body: item embeddings get the joint gradient")


class ConsensusConfig(Configuration):
    """The consensus rule as the public code of the paper's first author computes it (`consensus.py`)."""

    rule: Literal["consensus"] = "consensus"
    opposed: Literal["kept", "noise"] = Field(
        "kept",
        description="a tensor's gradient where more strata oppose the mean than agree: kept = as usual, noise = "
        "replaced by small noise",
    )


class BackdoorConfig(Configuration):
    """Backdoor adjustment: the strata's gradients, weighted by a prior (`priors.py`)."""

    rule: Literal["backdoor"] = "backdoor"
    strength: float = Field(0.1, ge=0, le=1, description="λ: 0 = the confounded prior, 1 = each stratum's user share")


class BalancedConfig(Configuration):
    """All strata have the same weight (`priors.py`)."""

    rule: Literal["balanced"] = "balanced"


class EffectiveNumberConfig(Configuration):
    """Weights from the effective number of a stratum's events (`priors.py`)."""

    rule: Literal["effective_number"] = "effective_number"
    overlap: float = Field(0.9999, ge=0, lt=1, description="β: 0 = joint training, towards 1 = balanced")


class GroupDROConfig(Configuration):
    """Weights from the strata's losses, which minimise the worst loss (`group_dro.py`)."""

    rule: Literal["group_dro"] = "group_dro"
    step_size: float = Field(0.01, gt=0, le=1000, description="η of the exponentiated gradient ascent on the weights")


class _OfRows(Configuration):
    """What all rules on a matrix of gradients share."""

    rows: Literal["mean", "share"] = Field(
        "mean",
        description="a stratum's row: the gradient of its mean loss, as in the rules' papers, or this gradient times "
        "the stratum's share of the step's interactions, so that strata without conflict add up to joint training",
    )


class AgrSumConfig(_OfRows):
    """Keeps the coordinates on which the signs of all strata agree (`agreement.py`)."""

    rule: Literal["agr_sum"] = "agr_sum"


class AgrRandConfig(_OfRows):
    """Agr-Sum with random numbers where strata disagree (`agreement.py`)."""

    rule: Literal["agr_rand"] = "agr_rand"


class ReptileConfig(_OfRows):
    """Visits the strata one after the other; each starts where the last one ended (`reptile.py`)."""

    rule: Literal["reptile"] = "reptile"
    inner_rate: float = Field(
        1.0, gt=0, le=1000, description="α of the inner steps; towards 0 = the gradient of the weighted loss"
    )


class TorchJDConfig(_OfRows):
    """An aggregator of torchjd by the name of its class (`library.py`)."""

    rule: Literal["torchjd"] = "torchjd"
    name: str = Field(description="a class of torchjd.aggregation, such as PCGrad, CAGrad, UPGrad, MGDA or GradVac")
    options: dict[str, Any] = Field(
        {},
        description="arguments of that class, such as {c: 0.5} for CAGrad; a list becomes a tensor over strata",
    )

    @model_validator(mode="after")
    def _buildable(self) -> "TorchJDConfig":
        # Imported late: torch takes 1.5 s.
        from pinet_kedro.aggregation.library import build_aggregator

        build_aggregator(self.name, self.options, groups=2)
        return self


def _named(settings: Any) -> Any:
    """Adds the rule `backdoor` where none is named."""
    return {"rule": "backdoor", **settings} if isinstance(settings, dict) else settings


AggregationConfig = Annotated[
    DeconfoundedConfig
    | ConsensusConfig
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
