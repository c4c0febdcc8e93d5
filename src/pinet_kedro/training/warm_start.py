"""The parameters of an earlier model for a changed catalogue."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone, build_backbone
from pinet_kedro.randomness import Generators

_RAREST = 0.1


def carry_over(old: Backbone, old_ids: Sequence[str], new_ids: Sequence[str], seed: int) -> Backbone:
    """A backbone like `old` for the items `new_ids`; parameters of an item are found by its raw id.

    New items get new parameters, drawn from the seed; items that no longer exist are dropped.
    """
    row = {item: j for j, item in enumerate(old_ids)}
    known = [(j, row[item]) for j, item in enumerate(new_ids) if item in row]
    to, source = (torch.tensor([pair[side] for pair in known], dtype=torch.long) for side in (0, 1))

    def fill(mine: Tensor, theirs: Tensor) -> None:
        mine[0] = theirs[0].to(mine)
        mine[to + 1] = theirs[source + 1].to(mine)

    return _with_tables(old, len(new_ids), fill, seed)


def without_last(backbone: Backbone, n_items: int) -> Backbone:
    """The backbone for items 1..n_items alone; itself if it has no others."""
    if backbone.n_items == n_items:
        return backbone
    return _with_tables(backbone, n_items, lambda mine, theirs: mine.copy_(theirs[: n_items + 1]))


def with_unknown(backbone: Backbone, n_items: int, counts: Int[np.ndarray, " I"]) -> Backbone:
    """The finished backbone for more items, of which nothing is known; itself if there are none.

    Each of them has the mean parameters of the tenth of the items with the fewest training events (`counts`): what
    plugins learn of rare items is what holds for it.
    """
    if backbone.n_items == n_items:
        return backbone
    rows = torch.from_numpy(np.flatnonzero(counts <= np.quantile(counts, _RAREST)) + 1)

    def fill(mine: Tensor, theirs: Tensor) -> None:
        mine[: len(theirs)] = theirs.to(mine)
        mine[len(theirs) :] = theirs[rows.to(theirs.device)].mean(0).to(mine)

    whole = _with_tables(backbone, n_items, fill).to(backbone.item_vectors().device).finish()
    with torch.no_grad():
        for mine, theirs in zip(whole.body_and_items()[1], backbone.body_and_items()[1], strict=True):
            mine[: len(theirs)] = theirs  # to finish them twice could change their last digit
    return whole


def _with_tables(old: Backbone, n_items: int, fill: Callable[[Tensor, Tensor], object], seed: int = 0) -> Backbone:
    """A backbone with the body of `old`, and with tables of items that `fill` makes of the new and the old ones."""
    new = build_backbone(old.config, n_items, Generators(seed))
    with torch.no_grad():
        (body, tables), (old_body, old_tables) = new.body_and_items(), old.body_and_items()
        for mine, theirs in zip(body, old_body, strict=True):
            mine.copy_(theirs)
        for mine, theirs in zip(tables, old_tables, strict=True):
            fill(mine, theirs)
    return new
