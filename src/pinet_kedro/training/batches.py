"""Inputs and targets of a training step."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from pinet_kedro.dataset import Dataset
from pinet_kedro.training.config import BackboneTraining


@dataclass(frozen=True)
class Batches:
    """Inputs and targets from the training part of the histories."""

    dataset: Dataset
    config: BackboneTraining

    def ends(self, users: Int[np.ndarray, " B"], rng: np.random.Generator) -> Int[np.ndarray, " B"]:
        """The position at which each user's window ends: the end of training, or a random place in a long history."""
        limit = self.config.backbone.max_length + 1
        ends = self.dataset.split.train_end[users].copy()
        elsewhere = (ends > limit) & (rng.random(len(users)) < self.config.schedule.random_window)
        ends[elsewhere] = rng.integers(limit, ends[elsewhere] + 1)
        return ends

    def gather(
        self, users: Int[np.ndarray, " B"], ends: Int[np.ndarray, " B"]
    ) -> tuple[Int[Tensor, "B L"], Int[Tensor, " N"]]:
        """Inputs, and the targets at their real positions; L is the longest history of the batch."""
        limit = self.config.backbone.max_length + 1
        window = self.dataset.sequences.windows(users, ends, int(min(ends.max(), limit)))
        inputs, targets = torch.from_numpy(window[:, :-1]), torch.from_numpy(window[:, 1:])
        return inputs.to(self.config.device), targets[inputs != 0].to(self.config.device)


def quotas(sizes: list[int], total: int) -> list[int]:
    """Users per step for each stratum: in proportion to its users (largest remainder), and at least one."""
    exact = np.asarray(sizes) / sum(sizes) * min(total, sum(sizes))
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: round(exact.sum()) - quota.sum()]] += 1
    return np.maximum(quota, 1).tolist()
