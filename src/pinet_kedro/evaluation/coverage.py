"""How much of the catalogue users are shown at all."""

import torch
from jaxtyping import Float
from torch import Tensor

from pinet_kedro.evaluation.metrics import CUT_OFF


class Coverage:
    """Coverage@10, a `watch` of `target_ranks`: items among the first ten that some user is offered."""

    def __init__(self, n_items: int) -> None:
        """`n_items` = I, the catalogue; a scorer may score more, which take their places and do not count."""
        self._shown = torch.zeros(n_items, dtype=torch.bool)

    def __call__(self, scores: Float[Tensor, "B I+J"]) -> None:
        first = scores.topk(min(CUT_OFF, scores.shape[1]), dim=1)
        items = first.indices[first.values > -torch.inf]
        self._shown[items[items < len(self._shown)]] = True

    def share(self) -> float:
        """Share of the catalogue."""
        return float(self._shown.float().mean())
