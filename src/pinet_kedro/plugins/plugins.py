"""The plugins of all strata, and the routing of users to them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import Evidence, LogitSpace, PredictionSpace, StateSpace


def build_space(config: PluginTraining, terms: int, width: int) -> PredictionSpace:
    """The configured kind of plugin, for `terms` frozen scorers and states of this width."""
    if config.kind == "logit_space":
        return LogitSpace(terms, config.backbone)
    return StateSpace(width, config.rank, config.seed)


@dataclass(frozen=True)
class Plugins:
    """A fitted plugin for every training stratum: row a of `theta` is for stratum a.

    `choice[a]` is its origin: 'none' (the backbone unchanged), 'shared' (fitted on all users) or 'own' (fitted on the
    stratum).
    """

    config: PluginTraining
    theta: Float[Tensor, "G P"]
    choice: tuple[str, ...]
    scorers: FrozenScorers

    def weights(self) -> pd.DataFrame:
        """The weight of each term in every stratum; no columns for the state space, whose parameters have no names."""
        if self.config.kind != "logit_space":
            return pd.DataFrame(index=range(len(self.choice)))
        return pd.DataFrame(self.theta.numpy(), columns=["backbone", *self.scorers.names])

    def logits(self, evidence: Evidence, stratum: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:
        """Logits of the whole catalogue; each user gets the plugin of the stratum."""
        return self._space(evidence).logits(self.theta[torch.from_numpy(stratum)], evidence)

    @property
    def summand_names(self) -> tuple[str, ...]:
        """Names of what `logits` adds up: the backbone and the frozen scorers, or, in the state space, the backbone and
        the change of the state."""
        return "backbone", *(self.scorers.names if self.config.kind == "logit_space" else ("change of state",))

    def summands(self, evidence: Evidence, stratum: Int[np.ndarray, " B"]) -> dict[str, Float[Tensor, "B I"]]:
        """What `logits` adds up, by name."""
        parts = self._space(evidence).summands(self.theta[torch.from_numpy(stratum)], evidence)
        return dict(zip(self.summand_names, parts, strict=True))

    def _space(self, evidence: Evidence) -> PredictionSpace:
        return build_space(self.config, len(evidence.terms), evidence.vectors.shape[1])
