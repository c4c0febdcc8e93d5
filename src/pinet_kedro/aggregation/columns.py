"""Several processes that aggregate gradients: each has some columns of the matrix of the strata's gradients."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class Exchange(Protocol):
    """The processes that take a step together: this one is number `rank` of `count`."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def add_up(self, tensor: Tensor) -> None:
        """Replaces the tensor by its sum over all processes."""

    def swap(self, sent: Tensor, lengths: list[int], expected: list[int]) -> Tensor:
        """What all have sent to this one, one after the other, for `lengths` numbers of `sent` to each of them."""


def nobody(tensor: Tensor) -> None:
    """Adds nothing to the tensor: `add_up` of a single process."""


class Columns:
    """Which columns each of `count` processes has: an equal share of the last dimension of every tensor.

    So a process has the same columns of an item table in every step, whichever rows the step has. A matrix `[K, P]` has
    the tensors of these shapes in its columns; `[K, p]` has the columns of one process.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], count: int = 1) -> None:
        shapes = [tuple(shape) or (1,) for shape in shapes]
        cuts = [[shape[-1] * place // count for place in range(count + 1)] for shape in shapes]
        self.widths = [[end - start for start, end in pairwise(places)] for places in cuts]
        self.shapes = [
            [(*shape[:-1], widths[rank]) for shape, widths in zip(shapes, self.widths, strict=True)]
            for rank in range(count)
        ]
        # Per process, the numbers of columns of every tensor, and of all.
        self.sizes = [[math.prod(shape) for shape in of_one] for of_one in self.shapes]
        self.numbers = [sum(of_one) for of_one in self.sizes]

    def parts(self, rank: int, own: Float[Tensor, "*K p"]) -> list[Tensor]:
        """The parts of the tensors in the columns of a process, with their shapes after K."""
        blocks = own.split(self.sizes[rank], -1)
        return [part.view(*own.shape[:-1], *shape) for part, shape in zip(blocks, self.shapes[rank], strict=True)]

    def split(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The parts of the tensors, process by process."""
        parts = [torch.atleast_1d(t).split(widths, -1) for t, widths in zip(tensors, self.widths, strict=True)]
        return [part for of_one in zip(*parts, strict=True) for part in of_one]

    def gather(self, own: Float[Tensor, "K p"], peers: Exchange) -> Float[Tensor, "K P"]:
        """All columns, from those that each process has."""
        lengths = [len(own) * number for number in self.numbers]
        swapped = peers.swap(own.flatten().repeat(peers.count), [own.numel()] * peers.count, lengths)
        parts = [
            self.parts(rank, block.view(len(own), self.numbers[rank]))
            for rank, block in enumerate(swapped.split(lengths))
        ]
        return torch.cat([torch.cat(of_one, -1).flatten(1) for of_one in zip(*parts, strict=True)], 1)
