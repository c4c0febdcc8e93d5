"""Gradients of the strata's losses, by one forward and backward pass on each stratum's own sub-batch.

Users of one activeness stratum have histories of similar length, so separate sub-batches need less padding. Median CPU
time of a step of deconfounded aggregation, relative to a joint step with the same number of users, on one core
(MovieLens-100k / Amazon Beauty): SASRec 1.20 / 0.44 of one padded batch, and 1.24 / 1.18 of the joint step in training,
whose batches also have similar lengths; GRU4Rec 1.20 / 1.37; DIN 1.07 / 1.04. G backward passes through one graph cost
2.1 to 2.4 times, and `vmap(grad)` 2.3 to 10 times, one padded batch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pinet_kedro.aggregation.columns import Columns, Exchange

Losses = Iterable[Callable[[], Float[Tensor, ""]]]


class GroupGradients:
    """Gradients of G losses over the same parameters, as the rows of one matrix or as their weighted sum."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        groups: int,
        memory: Float[Tensor, " M"] | None = None,
        shared: "Shared | None" = None,
    ) -> None:
        """`memory`, where it is given, holds the matrix in its first entries, and the losses after it."""
        self.parameters = [p for p in parameters if p.requires_grad]
        self.sizes = [p.numel() for p in self.parameters]
        self.groups = groups
        self._memory = memory
        self._shared = shared
        self._columns = Columns([p.shape for p in self.parameters], shared.peers.count if shared else 1)

    def compute(self, losses: Losses) -> tuple[Float[Tensor, "G P"], list[float]]:
        """The matrix `[G, P]` of gradients, which the next call overwrites, and the values of the losses.

        Where processes share the losses, it has this process's columns, unless the rule needs the whole. Each loss is
        built, differentiated and freed before the next. The device is synchronised once, not per group.
        """
        columns, mine = self._columns, self._shared.mine if self._shared else range(self.groups)
        lengths = [len(mine) * (number + 1) for number in columns.numbers]
        if self._memory is None:
            self._memory = self.parameters[0].new_empty(sum(lengths), requires_grad=False)
        written = self._memory[: sum(lengths)]
        blocks = [
            _block(block, len(mine), number)
            for block, number in zip(written.split(lengths), columns.numbers, strict=True)
        ]
        for a, loss in zip(range(self.groups), losses, strict=True):
            if a not in mine:
                continue
            value, k = loss(), a - mine.start
            gradients = torch.autograd.grad(value, self.parameters)
            views = [view for rank, (rows, _) in enumerate(blocks) for view in columns.parts(rank, rows[k])]
            torch._foreach_copy_(views, columns.split(gradients))
            for _, values in blocks:
                values[k] = value.detach()
        matrix, values = self._meet(self._shared, written, lengths) if self._shared else blocks[0]
        return matrix, values.tolist()

    def _meet(self, shared: "Shared", written: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
        """The matrix in this process's columns (all, if the rule needs them) and the losses, summed over processes.

        A process sends only the rows that it has users of. These are few, since they stand in a row: all N processes
        together have N + G - 1 rows at most, so each sends little more than one row, and not G.
        """
        number = self._columns.numbers[shared.peers.rank]
        expected = [len(held) * (number + 1) for held in shared.held]
        received = shared.peers.swap(written, lengths, expected)
        matrix, values = _block(received.new_zeros(self.groups * (number + 1)), self.groups, number)
        for held, block in zip(shared.held, received.split(expected), strict=True):
            rows, losses = _block(block, len(held), number)
            matrix[held.start : held.stop] += rows
            values[held.start : held.stop] += losses
        return self._columns.gather(matrix, shared.peers) if shared.whole else matrix, values

    def accumulate(self, losses: Losses, weights: list[float]) -> list[float]:
        """The values of the losses; sets `p.grad` to the weighted sum Σ_a w_a g_a without building the matrix."""
        values = []
        for p in self.parameters:
            p.grad = None
        for loss, weight in zip(losses, weights, strict=True):
            value = loss()
            (value * weight).backward()
            values.append(value.detach())
        gradients, total = self.met([p.grad for p in self.parameters if p.grad is not None], values)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return total.tolist()

    def met(self, gradients: Sequence[Tensor], values: list[Float[Tensor, ""]]) -> tuple[list[Tensor], Tensor]:
        """The sums over all processes of gradients of the parameters and of values `[n]`, in one exchange."""
        if self._shared is None:
            return list(gradients), torch.stack(values)
        flat = torch.cat([tensor.flatten() for tensor in (*gradients, *values)])
        self._shared.peers.add_up(flat)
        *parts, total = flat.split([*self.sizes, len(values)])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)], total

    def assign(self, gradient: Float[Tensor, " P"]) -> None:
        """Sets `p.grad` of every parameter from an aggregate of the matrix that `compute` has given."""
        if self._shared and not self._shared.whole:
            gradient = self._columns.gather(gradient[None], self._shared.peers)[0]
        for p, part in zip(self.parameters, gradient.split(self.sizes), strict=True):
            p.grad = part.view_as(p)


@dataclass(frozen=True)
class Shared:
    """Losses of which each of several processes has a part: `held` has the range of the groups of each of them.

    With `whole`, each of them gets the matrix in all columns.
    """

    peers: Exchange
    held: list[range]
    whole: bool = False

    @property
    def mine(self) -> range:
        """The groups of this process."""
        return self.held[self.peers.rank]


def _block(flat: Float[Tensor, " N"], groups: int, number: int) -> tuple[Float[Tensor, "G P"], Float[Tensor, " G"]]:
    """The rows of `number` gradients each, and the losses after them."""
    rows, losses = flat.split([groups * number, groups])
    return rows.view(groups, number), losses
