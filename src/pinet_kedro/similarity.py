"""Items that are near an item, in the two ways that a model knows."""

import numpy as np
import torch

from pinet_kedro.errors import InputError
from pinet_kedro.recommender import Recommender


@torch.no_grad()
def nearest_by_vectors(model: Recommender, item: str, k: int) -> list[tuple[str, float]]:
    """The k items whose vectors in the backbone have the largest cosine with that of the item, without itself."""
    vectors = torch.nn.functional.normalize(model.backbone.item_vectors().cpu(), dim=1)
    cosine = (vectors @ vectors[_row(model, item)]).numpy()
    return _best(model, cosine, item, k)


def nearest_by_memory(model: Recommender, item: str, k: int) -> list[tuple[str, float]] | None:
    """The k items with the largest entries in the item's row of the memory: those that often come soon after it, and
    with a smaller weight those before it. Fewer where it knows fewer; None if the model has no memory."""
    if model.plugins is None:
        return None
    strength = model.plugins.scorers.memory.matrix[[_row(model, item)]].toarray()[0]
    return [entry for entry in _best(model, strength, item, k) if entry[1] > 0]


def _row(model: Recommender, item: str) -> int:
    found = np.flatnonzero(model.item_ids == item)
    if not len(found):
        raise InputError(f"the model does not know the item {item!r}.")
    return int(found[0])


def _best(model: Recommender, values: np.ndarray, item: str, k: int) -> list[tuple[str, float]]:
    order = np.argsort(-values, kind="stable")
    return [(str(model.item_ids[j]), float(values[j])) for j in order[: k + 1] if model.item_ids[j] != item][:k]
