"""How the gradients of a step change a model's weights, and how their average follows."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.training.config import TrainingSchedule

_BETAS = (0.9, 0.98)
_BLOCK_ROWS = 2**16  # of a table whose average is made right at a time


class Updates(ABC):
    """Adam on a model, and the average of its weights, avg ← d·avg + (1 − d)·w after every step."""

    def __init__(self, model: Backbone, average: Backbone, schedule: TrainingSchedule) -> None:
        self.model, self.average, self.schedule = model, average, schedule
        self._taken = 0

    @abstractmethod
    def step(self, rows: Int[Tensor, " R"] | None) -> None:
        """A step by the gradients that the parameters have; those of item tables are 0 outside `rows`, if given."""

    @abstractmethod
    def settle(self) -> None:
        """Makes the average what it is defined as, wherever that has been put off."""

    def _decay(self) -> float:
        """d of the step that is being taken."""
        # Early weights are not worth averaging over 1/(1 − decay) steps: the decay rises from 0.
        decay = min(self.schedule.weight_average, (1 + self._taken) / (10 + self._taken))
        self._taken += 1
        return decay


class DenseUpdates(Updates):
    """Every weight moves in every step: those whose gradient is 0 by their momentum."""

    def __init__(self, model: Backbone, average: Backbone, schedule: TrainingSchedule) -> None:
        super().__init__(model, average, schedule)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=_BETAS, fused=True)

    @torch.no_grad()
    def step(self, rows: Int[Tensor, " R"] | None) -> None:  # noqa: ARG002
        self.optimiser.step()
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self._decay())

    def settle(self) -> None:
        """Nothing has been put off."""


class LazyUpdates(Updates):
    """Item tables move in the rows that a step touches and nowhere else, at a cost that does not know their length.

    Lazy Adam (`torch.optim.SparseAdam`): a row's moments decay in the steps that touch it; no momentum moves it between
    them. Its weights w thus rest, and the average that it has missed steps s of is, exactly,

        avg ← w + (avg − w)·Π_s d_s,

    which is made up for when the row is next touched, and for all rows by `settle`.
    """

    def __init__(self, model: Backbone, average: Backbone, schedule: TrainingSchedule) -> None:
        super().__init__(model, average, schedule)
        body, tables = model.body_and_items()
        average_body, average_tables = average.body_and_items()
        self._body: tuple[list[Tensor], list[Tensor]] = [*average_body], [*body]
        self._tables = list(zip(average_tables, tables, strict=True))
        self._optimisers = (
            torch.optim.Adam(body, lr=schedule.learning_rate, betas=_BETAS, fused=True),
            torch.optim.SparseAdam(tables, lr=schedule.learning_rate, betas=_BETAS),
        )
        # Σ log d over all steps, and what it was when a row's average was last right.
        self._log_decay = 0.0
        self._right_at = torch.zeros(len(tables[0]), 1, dtype=torch.float64, device=tables[0].device)

    @torch.no_grad()
    def step(self, rows: Int[Tensor, " R"] | None) -> None:
        if rows is None:
            raise ValueError("lazy updates take the rows that a step touches")
        kept = self._missed(self._right_at[rows])
        # `index_select` and not `[rows]`, which reads scattered rows at a third of its speed.
        before = [t.index_select(0, rows).lerp_(average.index_select(0, rows), kept) for average, t in self._tables]
        for optimiser in self._optimisers:
            optimiser.step()
        decay = self._decay()
        torch._foreach_lerp_(*self._body, 1 - decay)
        for (average, table), then in zip(self._tables, before, strict=True):
            average.index_copy_(0, rows, then.lerp_(table.index_select(0, rows), 1 - decay))
        self._log_decay += math.log(max(decay, 1e-300))
        self._right_at[rows] = self._log_decay

    @torch.no_grad()
    def settle(self) -> None:
        for start in range(0, len(self._right_at), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            kept = self._missed(self._right_at[block])
            for average, table in self._tables:
                average[block] = table[block].lerp(average[block], kept)
        self._right_at.fill_(self._log_decay)

    def _missed(self, right_at: Float[Tensor, "R 1"]) -> Float[Tensor, "R 1"]:
        """Π_s d_s over the steps that rows have missed."""
        return (self._log_decay - right_at).exp_().float()
