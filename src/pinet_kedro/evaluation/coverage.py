"""Coverage: the share of the catalogue that users see."""

import torch
from jaxtyping import Float
from torch import Tensor

from pinet_kedro.evaluation.metrics import CUT_OFF


class Coverage:
    """Coverage@10: share of items in the top ten of at least one user. An instance is a `watch` for `target_ranks`."""

    def __init__(self, n_items: int) -> None:
        """`n_items`: size I of the catalogue. Further items of a scorer take places in the top ten but do not count."""
        self._shown = torch.zeros(n_items, dtype=torch.bool)

    def __call__(self, scores: Float[Tensor, "B I+J"]) -> None:
        first = scores.topk(min(CUT_OFF, scores.shape[1]), dim=1)
        items = first.indices[first.values > -torch.inf]
        self._shown[items[items < len(self._shown)]] = True

    def share(self) -> float:
        """Share of the catalogue so far."""
        return float(self._shown.float().mean())
