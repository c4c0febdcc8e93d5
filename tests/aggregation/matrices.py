"""Families of gradient matrices on which every rule is tested."""

import torch


def random(groups: int, seed: int) -> torch.Tensor:
    return torch.randn(groups, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _opposed() -> torch.Tensor:
    row = random(1, 3)
    return torch.cat([row, -3 * row, 0.5 * row])


def _zero_row() -> torch.Tensor:
    matrix = random(4, 4)
    matrix[2] = 0
    return matrix


MATRICES = {
    "random of 2": random(2, 0),
    "random of 5": random(5, 1),
    "random of 20": random(20, 2),
    "opposed": _opposed(),
    "collinear": torch.tensor([[0.1], [1.0], [7.0], [30.0]], dtype=torch.float64) * random(1, 5),
    "zero row": _zero_row(),
    "all zero": torch.zeros(3, 4, dtype=torch.float64),
    "wildly different norms": torch.logspace(-6, 6, 5, dtype=torch.float64)[:, None] * random(5, 6),
    "one stratum": random(1, 7),
    "more strata than parameters": random(8, 8)[:, :3],
}
