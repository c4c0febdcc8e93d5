"""The interface of all losses, and `build_loss`, which chooses one by name."""

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.losses.binary import BinaryCrossEntropy
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig, LossConfig, SampledSoftmaxConfig
from pinet_kedro.losses.softmax import FullSoftmax, SampledSoftmax


class Drawn(Protocol):
    """The items that one step has drawn for the losses of all its batches."""

    @property
    def items(self) -> Int[Tensor, "..."] | None:
        """The drawn items (1..I); None is the whole catalogue."""

    def split(self, counts: list[int]) -> list[Any]:
        """One part per batch; `counts` are the batches' numbers of targets."""

    def renumbered(self, number: Int[Tensor, " I+1"]) -> Any:
        """The same items with item j renumbered to number[j], which increases with j."""


class Loss(Protocol):
    """A mean loss of next items. `candidates` is called once per step, however the step is split into batches."""

    def candidates(self, targets: Int[np.ndarray, " N"], rng: np.random.Generator) -> Drawn:
        """The draw for the targets (items 1..I) of all batches of a step, in their order."""

    def __call__(
        self, states: Float[Tensor, "N D"], vectors: Float[Tensor, "I D"], targets: Int[Tensor, " N"], drawn: Any, /
    ) -> Float[Tensor, ""]:
        """Mean over N positions; `vectors` belong to items 1..I, and `drawn` is the part for these targets."""


def build_loss(config: LossConfig, target_counts: Int[np.ndarray, " I"]) -> Loss:
    """The loss of a configuration; `target_counts`: training events of items 1..I, about as often each is a target."""
    if isinstance(config, FullSoftmaxConfig):
        return FullSoftmax(config)
    if isinstance(config, SampledSoftmaxConfig):
        return SampledSoftmax(config, target_counts)
    calibration = 0.0 if isinstance(config, BCEConfig) else config.calibration
    return BinaryCrossEntropy(config.negatives, calibration, n_items=len(target_counts))
