"""A branch for tail users, taught by head users (after Kim et al., MELT, SIGIR 2023, arXiv 2304.08382)."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.randomness import DrawsFrom, Generators
from pinet_kedro.studies.transfer.config import UserBranchConfig


class UserBranchScorer:
    """Scores of a backbone whose states h are moved to h + w·F(h): s_j + w · F(h) · v_j."""

    def __init__(self, backbone: Backbone, branch: nn.Module, weight: float) -> None:
        self.base = BackboneScorer(backbone)
        self.branch = branch
        self.weight = weight
        self.history_length, self.n_items = self.base.history_length, self.base.n_items

    @torch.no_grad()
    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:  # noqa: ARG002
        """Logits of items 1..I."""
        states, scores = self.base.read(histories)
        return scores + self.weight * self.branch(states) @ self.base.backbone.item_vectors().cpu().T


def fit_user_branch(backbone: Backbone, dataset: Dataset, config: UserBranchConfig, seed: int) -> UserBranchScorer:
    """The scorer for tail users, its weight w the one of highest validation NDCG@10 among them (the smallest on a tie).

    F(h) = W₂ gelu(W₁ h + b₁) + b₂ minimises the mean of ‖F(h_m) − h‖² over head users: h is the state at a random place
    of the training history at which the backbone's window is full (at its end where it never is), h_m the state after
    the newest m of the same events, m uniform on the numbers of events that a tail user may have, below a full window.

    Differs from MELT: no branch for items, and so no mutual training; the backbone is frozen, the branch sees states
    alone, and there is no curriculum; w is chosen, 0 included. Any backbone will do: moving a state by δ moves the
    logit of item j by δ · v_j (`Backbone.item_vectors`). DIN's state is only what a candidate without preference sees.
    """
    branch = _fit(backbone, dataset, config, seed)
    split = dataset.split
    users = np.flatnonzero((dataset.strata.head_tail.assign(split.train_end) == 0) & (split.valid_at > 0))
    tried = [UserBranchScorer(backbone, branch, weight) for weight in sorted({0.0, *config.weights})]
    if len(users) == 0:
        return tried[0]
    ndcg = []
    for scorer in tried:
        ranks = target_ranks(scorer, dataset.sequences, users, split.valid_at[users], split.exclude_seen)
        ndcg.append(user_metrics(ranks)["ndcg_at_10"].mean())
    return tried[int(np.argmax(ndcg))]


def _fit(backbone: Backbone, dataset: Dataset, config: UserBranchConfig, seed: int) -> nn.Module:
    rng = np.random.default_rng(seed)
    width, longest = backbone.config.width, backbone.config.max_length
    with DrawsFrom(Generators(seed)):
        branch = nn.Sequential(nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, width))
    optimiser = torch.optim.Adam(branch.parameters(), lr=config.learning_rate)
    head_tail = dataset.strata.head_tail
    head = np.flatnonzero(head_tail.assign(dataset.split.train_end) == 1)
    device = backbone.item_vectors().device
    backbone.finish()
    for _ in range(config.epochs):
        order = rng.permutation(head)
        for start in range(0, len(order), config.batch_users):
            users = order[start : start + config.batch_users]
            whole, recent = _histories(dataset, users, longest, rng)
            with torch.no_grad():
                states = [backbone.newest_states(torch.from_numpy(h).to(device)).cpu() for h in (whole, recent)]
            optimiser.zero_grad()
            (branch(states[1]) - states[0]).square().sum(1).mean().backward()
            optimiser.step()
    return branch.eval().requires_grad_(False)


def _histories(
    dataset: Dataset, users: np.ndarray, longest: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "B L"], Int[np.ndarray, "B M"]]:
    """Training histories of these users before a random place, and the newest m of the same events."""
    train_end, head_from = dataset.activeness[users], dataset.strata.head_tail.thresholds[0]
    ends = rng.integers(np.minimum(train_end, longest), train_end + 1)
    whole = dataset.sequences.windows(users, ends, int(min(ends.max(), longest)))
    m = rng.integers(1, min(longest, head_from), len(users))
    age = np.arange(m.max())[::-1]
    return whole, np.where(age < m[:, None], whole[:, -m.max() :], 0)
