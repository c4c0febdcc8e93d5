"""What an earlier model knows, carried over to a catalogue that has changed."""

from collections.abc import Sequence

import torch

from pinet_kedro.backbones.backbone import Backbone, build_backbone
from pinet_kedro.backbones.config import BackboneConfig


def carry_over(old: Backbone, old_ids: Sequence[str], new_ids: Sequence[str], seed: int) -> Backbone:
    """A backbone of the same kind for the items `new_ids`: all parameters of `old`, those of an item by its raw id.

    An item that is new gets fresh ones, drawn from the seed; one that is gone is forgotten.
    """
    row = {item: j for j, item in enumerate(old_ids)}
    known = [(j, row[item]) for j, item in enumerate(new_ids) if item in row]
    to, source = (torch.tensor([pair[side] for pair in known], dtype=torch.long) for side in (0, 1))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        new = build_backbone(old.config, len(new_ids))
        padding = _item_parameters(old.config)
        for (name, mine), theirs in zip(new.named_parameters(), old.parameters(), strict=True):
            if name in padding:
                mine[: padding[name]] = theirs[: padding[name]].to(mine)
                mine[to + padding[name]] = theirs[source + padding[name]].to(mine)
            else:
                mine.copy_(theirs)
    return new


def _item_parameters(config: BackboneConfig) -> dict[str, int]:
    """Parameters that have a row for every item, and the rows that stand before the first item's (padding).

    They are those whose shape follows the number of items; a length that merely equals it is not mistaken for one.
    """
    one, two = (dict(build_backbone(config, items).named_parameters()) for items in (1, 2))
    return {name: value.shape[0] - 2 for name, value in two.items() if value.shape != one[name].shape}
