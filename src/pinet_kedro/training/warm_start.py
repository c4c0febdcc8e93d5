"""Warm start: the parameters of an earlier model for a changed catalogue."""

from collections.abc import Sequence

import torch

from pinet_kedro.backbones.backbone import Backbone, build_backbone
from pinet_kedro.randomness import Generators


def carry_over(old: Backbone, old_ids: Sequence[str], new_ids: Sequence[str], seed: int) -> Backbone:
    """A backbone like `old` for the items `new_ids`; parameters of an item are found by its raw id.

    New items get new parameters, drawn from the seed; items that no longer exist are dropped.
    """
    row = {item: j for j, item in enumerate(old_ids)}
    known = [(j, row[item]) for j, item in enumerate(new_ids) if item in row]
    to, source = (torch.tensor([pair[side] for pair in known], dtype=torch.long) for side in (0, 1))
    new = build_backbone(old.config, len(new_ids), Generators(seed))
    with torch.no_grad():
        (body, tables), (old_body, old_tables) = new.body_and_items(), old.body_and_items()
        for mine, theirs in zip(body, old_body, strict=True):
            mine.copy_(theirs)
        for mine, theirs in zip(tables, old_tables, strict=True):
            mine[0] = theirs[0].to(mine)
            mine[to + 1] = theirs[source + 1].to(mine)
    return new
