"""What all backbones share, and the one place that knows their names."""

from abc import ABC, abstractmethod
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.config import BackboneConfig
from pinet_kedro.losses.loss import Loss


class Backbone(nn.Module, ABC):
    """A scorer of items 1..`n_items` after a history: what training, plugins and evaluation need of it.

    A backbone whose logit of item j after a state h is h · vectors[j - 1] writes `states` and `item_vectors` and is
    done. One whose logit is more than that (`din.DIN`) writes `loss` and `read` as well.
    """

    config: BackboneConfig
    n_items: int
    pads = True  # whether padding costs time: users of like length are then better computed together

    @abstractmethod
    def states(self, items: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """State after every position of left-padded histories; what it says at padding is meaningless."""

    @abstractmethod
    def item_vectors(self) -> Float[Tensor, "I D"]:
        """Output vectors of items 1..I: moving a state by δ moves the logit of item j by δ · vectors[j - 1]."""

    def loss(self, inputs: Int[Tensor, "B L"], targets: Int[Tensor, " N"], loss: Loss, drawn: Any) -> Float[Tensor, ""]:
        """Mean loss of the items that follow the N real positions of left-padded histories."""
        return loss(self.states(inputs)[inputs != 0], self.item_vectors(), targets, drawn)

    def read(self, histories: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"]]:
        """State after the newest event of left-padded histories, and the logits of items 1..I there."""
        states = self.states(histories)[:, -1]
        return states, states @ self.item_vectors().T

    def body_and_items(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters that all items share, and the embedding tables of items."""
        embeddings = [m for m in self.modules() if isinstance(m, nn.Embedding)]
        tables = {id(m.weight) for m in embeddings if m.num_embeddings == self.n_items + 1}
        parameters = list(self.parameters())
        return [p for p in parameters if id(p) not in tables], [p for p in parameters if id(p) in tables]


def build_backbone(config: BackboneConfig, n_items: int) -> Backbone:
    """A freshly initialised backbone; weights are drawn from torch's current generator."""
    from pinet_kedro.backbones.din import DIN
    from pinet_kedro.backbones.gru4rec import GRU4Rec
    from pinet_kedro.backbones.sasrec import SASRec

    classes: dict[str, type[Backbone]] = {"sasrec": SASRec, "gru4rec": GRU4Rec, "din": DIN}
    return classes[config.name](config, n_items)  # type: ignore[call-arg]
