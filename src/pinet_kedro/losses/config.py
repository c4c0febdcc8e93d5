"""Typed configurations of the losses. This file does not import torch, so the command line reads them quickly."""

from typing import Annotated, Literal

from pydantic import Field

from pinet_kedro.configuration import Configuration, Count


class FullSoftmaxConfig(Configuration):
    """Softmax over the whole catalogue."""

    name: Literal["full_softmax"] = "full_softmax"
    focal: float = Field(0.0, ge=0, le=100, description="γ of focal modulation; 0 = none")


class SampledSoftmaxConfig(Configuration):
    """Softmax over the step's targets and uniformly drawn items, corrected for their inclusion probability."""

    name: Literal["sampled_softmax"] = "sampled_softmax"
    uniform_items: Count = 1500
    focal: float = Field(0.0, ge=0, le=100, description="γ of focal modulation; 0 = none")


class BCEConfig(Configuration):
    """Binary cross-entropy of the target and of sampled negatives."""

    name: Literal["bce"] = "bce"
    negatives: Count = Field(1, description="uniformly drawn items per position")


class GBCEConfig(Configuration):
    """Generalised binary cross-entropy, which corrects the overconfidence that negative sampling causes."""

    name: Literal["gbce"] = "gbce"
    negatives: Count = Field(256, description="uniformly drawn items per position")
    calibration: float = Field(0.75, ge=0, le=1, description="t: 0 = plain BCE, 1 = fully calibrated")


LossConfig = Annotated[FullSoftmaxConfig | SampledSoftmaxConfig | BCEConfig | GBCEConfig, Field(discriminator="name")]
