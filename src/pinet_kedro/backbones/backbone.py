"""The interface of all backbones, and `build_backbone`, which chooses one by name."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.config import BackboneConfig, network
from pinet_kedro.losses.loss import Loss
from pinet_kedro.randomness import DrawsFrom, Generators


class Backbone(nn.Module, ABC):
    """Scores items 1..`n_items` after a history; this is all that training, plugins and evaluation use.

    If the logit of item j after a state h is h · vectors[j - 1], a backbone implements only `states` and
    `item_vectors`. Otherwise (`din.DIN`) it implements `loss` and `read` too.

    In training mode, dropout draws from `rng`; None is torch's own generator, which all threads share.
    """

    config: BackboneConfig
    n_items: int
    finished = False  # set by `finish`
    item_tables: tuple[str, ...] = ("items",)  # embeddings with one row per item, after a row for padding
    inner_products = True  # whether the logit of item j is h · vectors[j - 1]
    pads = True  # whether padding costs time; if so, training batches users with histories of similar length

    @abstractmethod
    def states(self, items: Int[Tensor, "B L"], rng: torch.Generator | None = None) -> Float[Tensor, "B L D"]:
        """State after every position of left-padded histories; undefined at padding."""

    @abstractmethod
    def item_vectors(self) -> Float[Tensor, "I D"]:
        """Output vectors of items 1..I: a change δ of the state changes the logit of item j by δ · vectors[j - 1]."""

    def loss(
        self,
        inputs: Int[Tensor, "B L"],
        targets: Int[Tensor, " N"],
        loss: Loss,
        drawn: Any,
        rng: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Mean loss of the items that follow the N real positions of left-padded histories."""
        return loss(self.states(inputs, rng)[inputs != 0], self.item_vectors(), targets, drawn)

    def newest_states(self, histories: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """State after the newest event of left-padded histories."""
        return self.states(histories)[:, -1]

    def read(self, histories: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"]]:
        """State after the newest event of left-padded histories, and the logits of items 1..I there."""
        states = self.newest_states(histories)
        return states, states @ self.item_vectors().T

    def finish(self) -> Self:
        """The model itself, ready for use, in evaluation mode: what training computes in every step is stored now.

        Only finished models are stored. A model that goes on learning is no longer finished.
        """
        self.finished = True
        return self.eval()

    def body_and_items(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters that all items share, and the embedding tables of items."""
        tables = [getattr(self, name).weight for name in self.item_tables]
        of_items = set(map(id, tables))
        return [p for p in self.parameters() if id(p) not in of_items], tables

    @contextmanager
    def narrowed(self, rows: Int[Tensor, " R"]) -> Iterator[list[nn.Parameter]]:
        """Yields the item tables reduced to these rows (the first is padding), for computing gradients.

        Inside the block the model uses these copies, and items are numbered by their place in `rows`.
        """
        modules = [getattr(self, name) for name in self.item_tables]
        whole = [module.weight for module in modules]
        for module in modules:
            module.weight = nn.Parameter(module.weight.detach().index_select(0, rows))
        try:
            yield [module.weight for module in modules]
        finally:
            for module, weight in zip(modules, whole, strict=True):
                module.weight = weight


def build_backbone(config: BackboneConfig, n_items: int, rng: Generators | None = None) -> Backbone:
    """A new backbone on the CPU, with weights drawn from `rng` (None: torch's own generator)."""
    with nullcontext() if rng is None else DrawsFrom(rng):
        return network(config.name)(config, n_items)
