"""Validation targets with candidates as examples for plugins, and the fit of a plugin on them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.evidence import block_users, gather_evidence
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import Evidence, PredictionSpace

_CHUNK = 1024  # users per chunk of a fit


@dataclass(frozen=True)
class PluginExamples:
    """Candidates of each user's validation target (the target first), their evidence, and the log of their weights."""

    users: Int[np.ndarray, " B"]
    evidence: Evidence
    log_weight: Float[Tensor, "B C"]

    def chunks(self, rows: np.ndarray) -> "list[PluginExamples]":
        """The examples of these rows, in parts."""
        parts = [torch.from_numpy(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return [PluginExamples(self.users[part], self.evidence.rows(part), self.log_weight[part]) for part in parts]

    def losses(self, space: PredictionSpace, theta: Float[Tensor, " P"]) -> Float[Tensor, " B"]:
        """−z_target + log Σ_j weight_j e^{z_j} for each user."""
        z = space.logits(theta, self.evidence)
        return (z + self.log_weight).logsumexp(1) - z[:, 0]


def fit(
    space: PredictionSpace, examples: PluginExamples, users: np.ndarray, center: Tensor, ridge: float
) -> Float[Tensor, " P"]:
    """θ with the lowest mean loss of these n users plus (ridge / n) · ‖θ − center‖², by L-BFGS."""
    theta = center.clone().requires_grad_()
    chunks = examples.chunks(users)
    optimiser = torch.optim.LBFGS([theta], max_iter=60, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = theta.new_zeros(())
        for chunk in chunks:
            loss = chunk.losses(space, theta).sum() / len(users)
            loss.backward()
            total += loss.detach()
        penalty = ridge / len(users) * (theta - center).square().sum()
        penalty.backward()
        return total + penalty.detach()

    optimiser.step(closure)
    if not torch.isfinite(theta).all():
        raise ArithmeticError("the fit of a plugin is not finite; the scores of the backbone are the likely cause")
    return theta.detach()


@torch.no_grad()
def sum_of_losses(
    space: PredictionSpace, examples: PluginExamples, theta: Tensor, users: np.ndarray
) -> Float[Tensor, ""]:
    """Sum of the losses of these users; 0 without users."""
    parts = [chunk.losses(space, theta).sum() for chunk in examples.chunks(users)]
    return torch.stack(parts).sum() if parts else theta.new_zeros(())


@torch.no_grad()
def collect_examples(
    backbone: Backbone | None,
    dataset: Dataset,
    users: Int[np.ndarray, " B"],
    scorers: FrozenScorers,
    config: PluginTraining,
) -> PluginExamples:
    """Examples from these users' validation targets, ordered by the length of the history.

    Items without events are no candidates (`Dataset.logged`), nor, with `split.exclude_seen`, those of the history.
    Hard candidates are the items with the highest sum of the backbone's score and the scorers' terms, each divided by
    its standard deviation over the user's catalogue. They and the target have the weight 1. Random candidates are a
    section of a shuffled catalogue, from a random place for each user. Those that are neither hard nor the target have
    the weight (number of all such items / number drawn), which makes the weighted sum over candidates an unbiased
    estimate of the sum over all items. All other candidates have the weight 0.
    """
    sequences, split = dataset.sequences, dataset.split
    users = users[np.argsort(split.valid_at[users], kind="stable")]  # a chunk is padded to its longest history
    length = max(backbone.config.max_length if backbone else 0, scorers.history_length)
    parts: list[tuple[Evidence, Tensor]] = []
    rng = torch.Generator().manual_seed(config.seed)
    block = block_users(len(scorers.popularity.counts))
    for start in range(0, len(users), block):
        user = users[start : start + block]
        at = split.valid_at[user]
        histories = torch.from_numpy(sequences.windows(user, at, int(min(at.max(), length))))
        everything = gather_evidence(backbone, scorers, histories)
        target = torch.from_numpy(sequences.items[sequences.offsets[user] + at].astype(np.int64) - 1)[:, None]
        seen = seen_items(sequences, user, at) if split.exclude_seen else None
        parts.append(_candidates(everything.first(dataset.logged.n_items), seen, target, config, rng))
    some = [part for part, _ in parts]
    evidence = Evidence(
        scores=torch.cat([part.scores for part in some]),
        states=torch.cat([part.states for part in some]),
        vectors=some[0].vectors,
        terms=tuple(map(torch.cat, zip(*(part.terms for part in some), strict=True))),
        columns=torch.cat([part.columns for part in some if part.columns is not None]),
    )
    return PluginExamples(users, evidence, torch.cat([weight for _, weight in parts]))


def _candidates(
    everything: Evidence,
    seen: tuple[Tensor, Tensor] | None,
    target: Tensor,
    config: PluginTraining,
    rng: torch.Generator,
) -> tuple[Evidence, Tensor]:
    users, n_items = everything.scores.shape
    free = torch.ones(users, n_items, dtype=torch.bool)
    if seen is not None:
        free[seen] = False
    free.scatter_(1, target, False)
    personal = [everything.scores, *(term for term in everything.terms if term.dim() == 2)]
    appeal = torch.stack([x / _deviation(x).clamp(min=1e-6) for x in personal]).sum(0)
    hard_count = min(config.hard_candidates, n_items - 1)
    appeal, hard = appeal.masked_fill(~free, -torch.inf).topk(hard_count, dim=1)
    free.scatter_(1, hard, False)
    rest = free.sum(1, keepdim=True)
    place = torch.randint(n_items, (users, 1), generator=rng) + torch.arange(min(config.random_candidates, n_items))
    random = torch.randperm(n_items, generator=rng)[place % n_items]
    of_rest = free.gather(1, random)
    drawn = of_rest.sum(1, keepdim=True)
    columns = torch.cat([target, hard, random], dim=1)
    hard_weight = torch.where(appeal > -torch.inf, 0.0, -torch.inf)
    random_weight = torch.where(of_rest, (rest / drawn.clamp(min=1)).log(), -torch.inf)
    evidence = Evidence(
        scores=everything.scores.gather(1, columns),
        states=everything.states,
        vectors=everything.vectors,
        terms=tuple(t[columns] if t.dim() == 1 else t.gather(1, columns) for t in everything.terms),
        columns=columns,
    )
    return evidence, torch.cat([torch.zeros(users, 1), hard_weight, random_weight], dim=1)


def _deviation(x: Float[Tensor, "B I"]) -> Float[Tensor, "B 1"]:
    """Standard deviation of every row; `Tensor.std` is three times slower."""
    return torch.linalg.vector_norm(x - x.mean(1, keepdim=True), dim=1, keepdim=True) / (x.shape[1] - 1) ** 0.5
