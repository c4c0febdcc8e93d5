"""Gradients of item tables for the items of a step only, so that a step's cost does not grow with the catalogue."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from pinet_kedro.backbones.backbone import Backbone

# Above this share of all rows, narrowing costs more than it saves.
_MOST = 0.7
# With more rows per number than this, sorting the numbers is cheaper than a mark per row.
_SPARSE = 32


class SparseRows:
    """Narrows a model's item tables to the rows of a step, and sets the gradients of the whole tables from them.

    The gradients are dense tables with 0 in all other rows or, if `sparse`, sparse tensors of these rows.
    """

    def __init__(self, tables: list[nn.Parameter], sparse: bool = False) -> None:
        self._tables = tables
        self._sparse = sparse
        self._gradients: list[Tensor] = []  # of whole tables; allocated by the first step that needs them
        self._number = torch.zeros(len(tables[0]), dtype=torch.int64, device=tables[0].device)
        self._rows: Tensor | None = None
        self._written: Tensor | None = None

    def rows(
        self, batches: list[tuple[Int[Tensor, "B L"], Int[Tensor, " N"]]], drawn: Int[Tensor, "..."] | None
    ) -> Int[Tensor, " R"] | None:
        """The rows of a step, sorted: padding, the items of inputs and targets, and the drawn items.

        None if they are the whole catalogue or, unless gradients are sparse, most of it.
        """
        if drawn is None:
            return None
        padding = self._number.new_zeros(1)
        named = (padding, drawn, *(part for batch in batches for part in batch))
        items = torch.cat([part.flatten().to(padding.device) for part in named])
        if len(self._number) > _SPARSE * len(items):
            found = items.unique()
        else:
            used = torch.zeros(len(self._number), dtype=torch.bool, device=padding.device)
            used[items] = True
            found = used.nonzero()[:, 0]
        return found if self._sparse or len(found) < _MOST * len(self._number) else None

    @contextmanager
    def narrow(self, model: Backbone, rows: Int[Tensor, " R"] | None) -> Iterator[list[nn.Parameter]]:
        """Yields the model's item tables, narrowed to the rows if given.

        At the end of the block their gradients become the gradients of the whole tables.
        """
        if rows is None:
            yield self._tables
            return
        self._number[rows] = torch.arange(len(rows), device=rows.device)
        self._rows = rows
        try:
            with model.narrowed(rows) as tables:
                yield tables
        finally:
            self._rows = None
        if self._sparse:
            for whole, narrow in zip(self._tables, tables, strict=True):
                assert narrow.grad is not None
                # No check: the rows are known to be sorted and distinct.
                whole.grad = torch.sparse_coo_tensor(
                    rows[None], narrow.grad, whole.shape, is_coalesced=True, check_invariants=False
                )
            return
        if not self._gradients:
            self._gradients = [torch.zeros_like(table) for table in self._tables]
        for whole, gradient, narrow in zip(self._tables, self._gradients, tables, strict=True):
            if self._written is not None:
                gradient[self._written] = 0
            assert narrow.grad is not None
            gradient[rows] = narrow.grad
            whole.grad = gradient
        self._written = rows

    def named(self, inputs: Int[Tensor, "B L"], targets: Int[Tensor, " N"], drawn: Any) -> tuple[Tensor, Tensor, Any]:
        """Inputs, targets and draws with the item numbers of the narrowed model."""
        if self._rows is None:
            return inputs, targets, drawn
        return self._number[inputs], self._number[targets], drawn.renumbered(self._number)
