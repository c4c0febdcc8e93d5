"""The update of a model's weights, and of their moving average, after a step."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.training.config import TrainingSchedule

_BETAS = (0.9, 0.98)
_BLOCK_ROWS = 2**16  # per block, when the average of a table is completed


class Updates(ABC):
    """Adam on a model, and the moving average of its weights: avg ← d·avg + (1 − d)·w after every step."""

    def __init__(self, model: Backbone, average: Backbone, schedule: TrainingSchedule) -> None:
        self.model, self.average, self.schedule = model, average, schedule
        self._taken = 0

    @abstractmethod
    def step(self, rows: Int[Tensor, " R"] | None) -> None:
        """Applies the gradients of the parameters; those of item tables are 0 outside `rows`, if given."""

    @abstractmethod
    def settle(self) -> None:
        """Completes the average where its computation was postponed."""

    def _decay(self) -> float:
        """d of the current step."""
        # The first weights are poor, so the decay increases from 0.1 towards its final value.
        decay = min(self.schedule.weight_average, (1 + self._taken) / (10 + self._taken))
        self._taken += 1
        return decay


class DenseUpdates(Updates):
    """Every weight changes in every step; momentum changes those whose gradient is 0."""

    def __init__(self, model: Backbone, average: Backbone, schedule: TrainingSchedule) -> None:
        super().__init__(model, average, schedule)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=_BETAS, fused=True)

    @torch.no_grad()
    def step(self, rows: Int[Tensor, " R"] | None) -> None:  # noqa: ARG002
        self.optimiser.step()
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self._decay())

    def settle(self) -> None:
        """Does nothing: the average is always complete."""


class LazyUpdates(Updates):
    """Changes only the rows of a step in the item tables, in a time that does not depend on the tables' length.

    Lazy Adam (`torch.optim.SparseAdam`): the moments of a row decay only in steps with this row, and momentum does not
    change it in other steps. Since its weights w are constant during these steps s, its average after them is exactly

        avg ← w + (avg − w)·Π_s d_s.

    This is computed in the next step with this row, and for all rows by `settle`.
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
        # Σ log d over all steps, and its value when the average of a row was last complete.
        self._log_decay = 0.0
        self._complete_at = torch.zeros(len(tables[0]), 1, dtype=torch.float64, device=tables[0].device)

    @torch.no_grad()
    def step(self, rows: Int[Tensor, " R"] | None) -> None:
        if rows is None:
            raise ValueError("lazy updates need the rows of the step")
        kept = self._missed(self._complete_at[rows])
        # `index_select` reads scattered rows three times as fast as `[rows]`.
        before = [t.index_select(0, rows).lerp_(average.index_select(0, rows), kept) for average, t in self._tables]
        for optimiser in self._optimisers:
            optimiser.step()
        decay = self._decay()
        torch._foreach_lerp_(*self._body, 1 - decay)
        for (average, table), then in zip(self._tables, before, strict=True):
            average.index_copy_(0, rows, then.lerp_(table.index_select(0, rows), 1 - decay))
        self._log_decay += math.log(max(decay, 1e-300))
        self._complete_at[rows] = self._log_decay

    @torch.no_grad()
    def settle(self) -> None:
        for start in range(0, len(self._complete_at), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            kept = self._missed(self._complete_at[block])
            for average, table in self._tables:
                average[block] = table[block].lerp(average[block], kept)
        self._complete_at.fill_(self._log_decay)

    def _missed(self, complete_at: Float[Tensor, "R 1"]) -> Float[Tensor, "R 1"]:
        """Π_s d_s over the steps since the average of the rows was complete."""
        return (self._log_decay - complete_at).exp_().float()
