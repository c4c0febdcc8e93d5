"""GRU4Rec: a recurrent network over the items of a history (Hidasi et al., ICLR 2016, arXiv 1511.06939)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.backbones.config import GRU4RecConfig
from pinet_kedro.backbones.dropout import Dropout
from pinet_kedro.backbones.packed_gru import pack, packed_gru


class GRU4Rec(Backbone):
    """States h_t = W·GRU(e_1, …, e_t) + c, with the same item vectors for input and output.

    Differs from the paper where later practice is better: item vectors instead of one-hot input, tied output vectors,
    no activation on the scores, and every position of a user's window is a training example.
    """

    pads = False

    def __init__(self, config: GRU4RecConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.n_items = n_items
        self.items = nn.Embedding(n_items + 1, config.width, padding_idx=0)
        self.dropout = Dropout(config.dropout)
        between = config.dropout if config.layers > 1 else 0.0  # torch warns about dropout with a single layer
        self.gru = nn.GRU(config.width, config.hidden, config.layers, dropout=between)
        self.head = nn.Linear(config.hidden, config.width)
        nn.init.normal_(self.items.weight, std=config.width**-0.5)
        with torch.no_grad():
            self.items.weight[0] = 0

    def item_vectors(self) -> Float[Tensor, "I D"]:
        return self.items.weight[1:]

    def states(self, items: Int[Tensor, "B L"], rng: torch.Generator | None = None) -> Float[Tensor, "B L D"]:
        rows, columns, steps = pack(items != 0)
        hidden = packed_gru(self.gru, self.dropout(self.items(items[rows, columns]), rng), steps, rng)
        states = self.head(self.dropout(hidden, rng))
        return states.new_zeros(*items.shape, self.config.width).index_put((rows, columns), states)
