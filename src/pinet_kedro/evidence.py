"""What a model reads of histories: the scores of its backbone and of its frozen scorers, over the whole catalogue."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import Evidence

# Scores (floats) and users per block. Larger temporaries are allocated page by page in every step: with 2**24 scores
# the ranking of Amazon Beauty took twice as long. But every block reads all item vectors, so with a million items
# blocks of very few users cost more than they save.
_BLOCK_SCORES = 2**21
_BLOCK_USERS = 1024
_LEAST_USERS = 32


class BackboneScorer:
    """Scores of a backbone alone."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.history_length = backbone.config.max_length
        self.n_items = backbone.n_items

    def read(self, histories: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"]]:
        """State after the newest event, and logits of items 1..I, on the CPU."""
        device = self.backbone.item_vectors().device
        states, scores = self.backbone.read(histories[:, -self.history_length :].to(device))
        return states.cpu(), scores.cpu()

    @torch.no_grad()
    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:  # noqa: ARG002
        """Logits of items 1..I."""
        return self.read(histories)[1]


@torch.no_grad()
def gather_evidence(
    backbone: Backbone | None, scorers: FrozenScorers | None, histories: Int[Tensor, "B L"]
) -> Evidence:
    """Evidence over the whole catalogue for left-padded histories.

    Without a backbone the scores are 0; without scorers there are no terms.
    """
    if backbone is None:
        assert scorers is not None
        n_items = len(scorers.popularity.counts)
        states, scores, vectors = torch.empty(len(histories), 0), torch.zeros(len(histories), n_items), torch.empty(0)
    else:
        states, scores = BackboneScorer(backbone).read(histories)
        vectors = backbone.item_vectors().cpu()
    terms = scorers.terms(histories.numpy()) if scorers else ()
    return Evidence(scores=scores, states=states, vectors=vectors, terms=terms)


def block_users(n_items: int) -> int:
    """Number of users whose scores are computed together, for a catalogue of this size."""
    return min(_BLOCK_USERS, max(_LEAST_USERS, _BLOCK_SCORES // n_items))
