"""What weights of plugins that depend on the user are worth, on validation targets.

    python tests/benchmarks/user_weights.py amazon_beauty data/06_models/base catalogue
    python tests/benchmarks/user_weights.py amazon_beauty data/06_models/base history

The environment's stored dataset, a stored backbone of it (several: their mean by user), and what is known of a user:
`catalogue` reads the scores of all items (entropy of the backbone's, best and second-best, deviation and number of the
memory's and the factors', their correlation with the backbone's), `history` only what costs little (length, what the
memory recalls, norms of the state and of the factors, popularity and recency of the newest items).

    w(u) = w_a (1 + A x_u)  or  w_a (1 + W₂ tanh(W₁ x_u)),

with the weights w_a of the user's stratum as they are fitted without, x_u standardised and at most ±3, and a ridge on A
or W. Everything is fitted on four fifths of the validation users and judged on the others, by NDCG@10 over the whole
catalogue. Printed are the gains over A = 0 with intervals over users, for all and by stratum.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from torch import Tensor

from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.evidence import block_users, gather_evidence
from pinet_kedro.fitting.candidates import PluginExamples, collect_examples, fit
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.plugins.spaces import Evidence, LogitSpace
from pinet_kedro.recommender import Recommender

CONFIG = PluginTraining()
FOLDS, HIDDEN = 5, 8
# Name: width of the network (0: linear), ridge.
KINDS = {"linear, ridge 100": (0, 100.0), "network, ridge 30": (HIDDEN, 30.0), "network, ridge 100": (HIDDEN, 100.0)}


def of_catalogue(evidence: Evidence, _: np.ndarray, lengths: np.ndarray, __: FrozenScorers) -> Tensor:
    personal = [term for term in evidence.terms if term.dim() == 2]
    chance = evidence.scores.log_softmax(1)
    centred = [x - x.mean(1, keepdim=True) for x in (evidence.scores, *personal)]
    found = [torch.from_numpy(lengths).log1p(), -(chance.exp() * chance).sum(1), chance.amax(1)]
    for term in personal:
        best = term.topk(2, dim=1).values
        found += [best[:, 0], best[:, 0] - best[:, 1], term.std(1), (term > 0).sum(1).log1p()]
    found += [torch.cosine_similarity(centred[0], other, dim=1) for other in centred[1:]]
    return torch.stack([x.float() for x in found], 1)


def of_history(evidence: Evidence, histories: np.ndarray, lengths: np.ndarray, scorers: FrozenScorers) -> Tensor:
    recalled = scorers.memory.recall(histories)
    number = np.diff(recalled.indptr)
    user = np.repeat(np.arange(len(number)), number)
    best = np.zeros(len(number))
    np.maximum.at(best, user, recalled.data)
    total = np.bincount(user, recalled.data, minlength=len(number))
    spread = total**2 / np.maximum(np.bincount(user, recalled.data**2, minlength=len(number)), 1e-12)
    newest = histories[:, -10:]
    known = np.maximum((newest > 0).sum(1), 1)
    of_items = [scorers.popularity.log_popularity, scorers.popularity.log_recency]
    found = [np.log1p(lengths), np.log1p(number), np.log1p(20 * best), np.log1p(20 * total), np.log1p(spread)]
    found += [scorers.others["factors"].users(histories).norm(dim=1), evidence.states.norm(dim=1)]
    found += [np.where(newest > 0, values[np.maximum(newest, 1) - 1], 0).sum(1) / known for values in of_items]
    return torch.from_numpy(np.stack(found, 1).astype(np.float32))


FEATURES: dict[str, Callable[..., Tensor]] = {"catalogue": of_catalogue, "history": of_history}


def evidence_of(model: Recommender, scorers: FrozenScorers, dataset: Dataset, users: np.ndarray):
    """Users, their histories without the validation target, and the evidence, block by block."""
    length = max(model.backbone.config.max_length, scorers.history_length)
    block = block_users(dataset.n_items)
    for start in range(0, len(users), block):
        part = users[start : start + block]
        ends = dataset.split.valid_at[part]
        histories = dataset.sequences.windows(part, ends, int(min(ends.max(), length)))
        evidence = gather_evidence(model.backbone, scorers, torch.from_numpy(histories))
        yield slice(start, start + len(part)), part, histories, evidence


def fit_change(
    examples: PluginExamples, known: Tensor, weights: Tensor, users: np.ndarray, hidden: int, ridge: float
) -> Callable[[Tensor], Tensor]:
    """The relative change of the weights (of the users, where it is 0 now) as a function of what is known of a user."""
    space = LogitSpace(weights.shape[1] - 1)
    torch.manual_seed(0)
    last = torch.zeros(hidden or known.shape[1], weights.shape[1], requires_grad=True)
    first = (torch.randn(known.shape[1], hidden) / known.shape[1] ** 0.5).requires_grad_() if hidden else None
    begun = None if first is None else first.detach().clone()

    def change(x: Tensor) -> Tensor:
        return (x if first is None else torch.tanh(x @ first)) @ last

    chunks = examples.chunks(users)
    rows = torch.from_numpy(users).split([len(chunk.users) for chunk in chunks])
    learnt = [last] if first is None else [first, last]
    optimiser = torch.optim.LBFGS(learnt, max_iter=60, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = torch.zeros(())
        for chunk, row in zip(chunks, rows, strict=True):
            loss = chunk.losses(space, weights[row] * (1 + change(known[row]))).sum() / len(users)
            loss.backward()
            total += loss.detach()
        far = last.square().sum() + (0 if first is None or begun is None else (first - begun).square().sum())
        (ridge / len(users) * far).backward()
        return total + (ridge / len(users) * far).detach()

    optimiser.step(closure)
    return change


def measure(
    model: Recommender, dataset: Dataset, features: Callable[..., Tensor]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The strata of the validation users, and NDCG@10 of each by the kind of weights."""
    scorers = build_scorers(dataset, model.popularity, CONFIG)
    examples = collect_examples(model.backbone, dataset, dataset.validation_users, scorers, CONFIG)
    users = examples.users
    stratum = dataset.strata.training.assign(dataset.split.valid_at[users])
    space = LogitSpace(len(scorers.names))
    known = torch.cat([
        features(evidence, histories, dataset.split.valid_at[part], scorers)
        for _, part, histories, evidence in evidence_of(model, scorers, dataset, users)
    ])  # fmt: skip
    fold = np.random.default_rng(CONFIG.seed).permutation(len(users)) % FOLDS
    weights = {name: torch.zeros(len(users), 1 + len(scorers.names)) for name in ("by stratum", *KINDS)}
    for f in range(FOLDS):
        seen, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        x = ((known - known[seen].mean(0)) / (known[seen].std(0) + 1e-6)).clamp(-3, 3)
        shared = fit(space, examples, seen, space.start(), 0.0)
        own = [fit(space, examples, seen[stratum[seen] == a], shared, CONFIG.ridge) for a in range(stratum.max() + 1)]
        constant = torch.stack(own)[torch.from_numpy(stratum)]
        weights["by stratum"][held] = constant[held]
        for name, (hidden, ridge) in KINDS.items():
            change = fit_change(examples, x, constant, seen, hidden, ridge)
            weights[name][held] = (constant[held] * (1 + change(x[held]))).detach()
    ndcg = {name: np.zeros(len(users)) for name in weights}
    for place, part, _, evidence in evidence_of(model, scorers, dataset, users):
        ends = dataset.split.valid_at[part]
        target = torch.from_numpy(dataset.sequences.items[dataset.sequences.offsets[part] + ends].astype(np.int64) - 1)
        for name, own in weights.items():
            z = space.logits(own[place], evidence)
            mine = z.gather(1, target[:, None])
            if dataset.split.exclude_seen:
                z[seen_items(dataset.sequences, part, ends)] = -torch.inf
            z.scatter_(1, target[:, None], -torch.inf)
            rank = 1 + (z > mine).sum(1).numpy() + (z == mine).sum(1).numpy() / 2
            ndcg[name][place] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0)
    return stratum, ndcg


def main(env: str, *arguments: str) -> None:
    *folders, known = arguments
    torch.set_num_threads(1)
    bootstrap_project(Path.cwd())
    with KedroSession.create(Path.cwd(), env=env) as session:
        dataset = session.load_context().catalog.load("dataset")
    found = [measure(Recommender.load(Path(folder)), dataset, FEATURES[known]) for folder in folders]
    stratum = found[0][0]
    ndcg = {name: np.stack([one[name] for _, one in found]) for name in found[0][1]}
    constant = ndcg.pop("by stratum")
    sys.stdout.write(f"{env}, {known}: by stratum {constant.mean():.4f}\n")
    for name, changed in ndcg.items():
        groups = [(np.ones(len(stratum), bool), "all"), *((stratum == a, f"stratum {a}") for a in np.unique(stratum))]
        gains = [(group, relative_gain(changed[:, users], constant[:, users])) for users, group in groups]
        sys.stdout.write(f"{name}: {', '.join(f'{group} {percent(gain)}' for group, gain in gains)}\n")


def percent(gain: dict[str, float | None]) -> str:
    """A gain with its interval."""
    middle, low, high = (100 * (gain[name] or 0.0) for name in ("relative", "low", "high"))
    return f"{middle:+.2f} % [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main(*sys.argv[1:])
