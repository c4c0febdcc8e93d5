"""Group distributionally robust optimisation (Sagawa et al., ICLR 2020, arXiv 1911.08731, algorithm 1)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchjd import Stateful
from torchjd.aggregation import Weighting


class GroupDROWeighting(Weighting, Stateful):
    """q_a ← q_a e^{η L_a} / Σ_b q_b e^{η L_b} from the losses L `[G]`; q starts uniform.

    The stratum with the highest loss gains weight. In the paper a step sees one random stratum; here every step sees
    all strata.
    """

    def __init__(self, step_size: float = 0.01) -> None:
        super().__init__()
        self.step_size = step_size
        self.log_weights: Tensor | None = None

    def reset(self) -> None:
        """Forgets the weights."""
        self.log_weights = None

    @torch.no_grad()
    def forward(self, losses: Float[Tensor, " G"], /) -> Float[Tensor, " G"]:
        before = torch.zeros_like(losses) if self.log_weights is None else self.log_weights
        self.log_weights = torch.log_softmax(before + self.step_size * losses, -1)
        return self.log_weights.exp()
