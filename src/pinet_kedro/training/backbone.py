"""Training of a backbone with one budget: jointly (the base), or by aggregation of the strata's gradients."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pinet_kedro.aggregation.columns import Columns, nobody
from pinet_kedro.aggregation.group_gradients import GroupGradients, Losses, Shared
from pinet_kedro.aggregation.rules import RuleInputs, Step, build_rule, by_columns
from pinet_kedro.backbones.backbone import Backbone, build_backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.metrics import metrics_by_group
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.losses.loss import build_loss
from pinet_kedro.randomness import Generators
from pinet_kedro.training.batches import Batches, length_buckets, quotas
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.devices import find_device
from pinet_kedro.training.memory import Need, backbone_needs, check_memory
from pinet_kedro.training.peers import ALONE, Part, Peers
from pinet_kedro.training.sparse_rows import SparseRows
from pinet_kedro.training.updates import DenseUpdates, LazyUpdates
from pinet_kedro.training.warm_start import with_unknown, without_last


@dataclass(frozen=True)
class EpochReport:
    """The result of an epoch.

    `loss`: mean training loss. `seconds`: duration. `valid_ndcg`: validation NDCG@10 of all, head and tail users (not
    in every epoch, and without groups that have no validation targets). `stratum_weights`: mean weights of the strata
    in the aggregation (empty for joint training and for a rule without weights). `model` is the model in training, with
    the current weights: read it, but do not change it. It is None in a report from another process.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float
    model: Backbone | None = field(repr=False, compare=False)
    valid_ndcg: dict[str, float] = field(default_factory=dict)
    stratum_weights: tuple[float, ...] = ()

    def row(self) -> dict[str, float]:
        """The numbers of the report under flat names, for a table or a tracking server."""
        weights = {f"weight_stratum_{a + 1}": w for a, w in enumerate(self.stratum_weights)}
        ndcg = {f"valid_ndcg_at_10_{group}": value for group, value in self.valid_ndcg.items()}
        return {"loss": self.loss, **ndcg, **weights}


OnEpoch = Callable[[EpochReport], None]


@dataclass(frozen=True)
class Checkpoint:
    """Averaged weights after an epoch, with their validation NDCG@10 over all users."""

    epoch: int
    valid_ndcg: float
    backbone: Backbone


class DivergedError(ArithmeticError):
    """The loss or a validation score is not finite; `best` is the best validated epoch so far, if any."""

    def __init__(self, message: str, best: Checkpoint | None = None) -> None:
        super().__init__(message)
        self.best = best

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.best)


def train_backbone(
    dataset: Dataset,
    config: BackboneTraining,
    on_epoch: OnEpoch | None = None,
    start: Backbone | None = None,
    keep_best: bool = False,
    peers: Peers = ALONE,
) -> Backbone:
    """The trained backbone (averaged weights, evaluation mode).

    Without `config.aggregation` training is joint: every step draws users at random, and all targets have the same
    weight. Otherwise every step draws a sub-batch from every stratum, in proportion to its users, so that an epoch
    reads every user about once, and does not end with the smallest stratum.

    Training starts from a copy of `start`, or from new weights. With `keep_best` the result is the validated epoch with
    the highest validation NDCG@10, including the start (the earliest on a tie), instead of the last epoch.

    Training is in this process, whatever `config.processes` is. With `peers`, several processes make this call with the
    same arguments: each computes its share of the users of every step, and all return the same weights. These are those
    of one process up to rounding, apart from the random numbers of dropout.

    Raises `DivergedError` if a loss or a validation score is NaN or infinite, `InputError` if torch does not have the
    device or there is not enough memory, and `EndedError` if a peer has ended. All random numbers come from generators
    of this training, so other threads do not change the result.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = find_device(config.device)
    if device.type == "cpu":
        check_memory(backbone_memory(dataset, config))
    return _Training(dataset, config, device, start, peers).run(on_epoch, keep_best)


def backbone_memory(dataset: Dataset, config: BackboneTraining) -> list[Need]:
    """The memory that `train_backbone` needs for these data."""
    trained = dataset.activeness[dataset.activeness >= 2]
    read = np.minimum(trained, config.backbone.max_length)  # a step reads no more of a history
    events = float(read.mean()) if len(trained) else 0.0
    return backbone_needs(config, dataset.n_items, len(dataset.strata.training), len(trained), events)


class _Training:
    def __init__(
        self,
        dataset: Dataset,
        config: BackboneTraining,
        device: torch.device,
        start: Backbone | None = None,
        peers: Peers = ALONE,
    ) -> None:
        self.whole, dataset = dataset, dataset.logged
        self.dataset, self.config, self.device, self.peers = dataset, config, device, peers
        split, n_items = dataset.split, dataset.n_items
        self.batches = Batches(dataset, config)
        self.rng, self.generators = np.random.default_rng(config.seed), Generators(config.seed, device)
        self.noise = peers.noise(config.seed, self.generators)
        if start:
            self.model = copy.deepcopy(without_last(start, n_items))
        else:
            self.model = build_backbone(config.backbone, n_items, self.generators)
        self.model.finished = False
        self.model.to(device)
        self.average = copy.deepcopy(self.model)
        self.counts = split.item_counts(dataset.sequences, n_items)
        self.loss = build_loss(config.loss, self.counts)
        self.users = np.flatnonzero(split.train_end >= 2)  # a single event has no next item to predict
        if len(self.users) == 0:
            raise InputError("no user has two training events: there is nothing to train on")
        stratum = dataset.strata.training.assign(split.train_end[self.users])
        # A stratum may have no users here, for example if all its users have at most one training event.
        self.present = np.unique(stratum)
        groups = [self.users[stratum == a] for a in self.present]
        self.steps = math.ceil(len(self.users) / config.schedule.batch_users)
        self.joint = config.aggregation is None
        if self.joint:
            self.streams = [_Shuffled(self.users, self.rng)]
            self.quotas = [min(config.schedule.batch_users, len(self.users))]
        else:
            self.streams = [_Shuffled(group, self.rng) for group in groups]
            self.quotas = quotas([len(g) for g in groups], config.schedule.batch_users)
        self.body, self.tables = self.model.body_and_items()
        lazy = config.lazy(n_items)
        self.sparse_rows = SparseRows(self.tables, sparse=lazy)
        self.updates = (LazyUpdates if lazy else DenseUpdates)(self.model, self.average, config.schedule)
        self.all_columns = not by_columns(config.aggregation)  # does every process need them?
        shapes = [p.shape for p in (*self.body, *self.tables)]
        columns = Columns(shapes, peers.count)
        # On a CPU the kernel provides memory only when it is written, as far as a step needs it. On other devices torch
        # reuses the memory of the previous step.
        numbers = len(self.streams) * (sum(columns.numbers) + peers.count)
        self.memory = torch.empty(numbers) if device.type == "cpu" else None
        rule_inputs = RuleInputs(
            users=torch.tensor([float(len(group)) for group in groups]),
            interactions=torch.tensor([float((split.train_end[group] - 1).sum()) for group in groups]),
            sizes=[math.prod(shape) for shape in shapes] if self.all_columns else columns.sizes[peers.rank],
            embeddings=len(self.tables),
            rows=n_items + 1,
            add_up=nobody if self.all_columns else peers.add_up,
        )
        self.rule = build_rule(config.aggregation, rule_inputs, self.generators)
        self.best: Checkpoint | None = None

    def run(self, on_epoch: OnEpoch | None, keep_best: bool = False) -> Backbone:
        schedule = self.config.schedule
        if keep_best:
            self._validate(epoch=0)
        for epoch in range(1, schedule.epochs + 1):
            started = time.perf_counter()
            self.model.train()
            steps = [self._step(epoch, step) for step in range(self.steps)]
            losses, weights = zip(*steps, strict=True)
            due = epoch % schedule.validate_every == 0 or epoch == schedule.epochs
            report = EpochReport(
                epoch=epoch,
                epochs=schedule.epochs,
                loss=float(np.mean(losses)),
                valid_ndcg=self._validate(epoch) if due else {},
                stratum_weights=tuple(np.mean(weights, axis=0).tolist()),
                seconds=time.perf_counter() - started,
                model=self.model,
            )
            if on_epoch:
                on_epoch(report)
        self.updates.settle()
        self.peers.check_equal(self.average)
        return self.best.backbone if keep_best and self.best else self._finished(self.average)

    def _step(self, epoch: int, step: int) -> tuple[float, list[float]]:
        """The mean loss, and the weights of the strata; empty without aggregation."""
        groups, drawn = self._read()
        targets = np.array([sum(len(targets) for _, targets, _ in group) for group in groups])
        share = torch.from_numpy(targets / targets.sum()).float()
        rows = self.sparse_rows.rows([part[:2] for group in groups for part in group], drawn)
        with self.sparse_rows.narrow(self.model, rows) as tables:
            parameters, (own, held) = [*self.body, *tables], self.peers.own(groups)
            shared = Shared(self.peers, held, self.all_columns) if self.peers.count > 1 else None
            gradients = GroupGradients(parameters, len(groups), self.memory, shared)
            totals = zip(own, targets, strict=True)
            losses = (partial(self._group_loss, group, total, parameters) for group, total in totals)
            values, weights = self._differentiate(gradients, losses, share, rows, f"epoch {epoch}, step {step + 1}")
        self.updates.step(rows)
        return float(np.average(values, weights=targets)), weights

    def _read(self) -> tuple[list[list[Part]], Any]:
        """The groups of users of a step, each with its own gradient (the sum over its parts), and the items drawn."""
        draws = [self._draw(stream, quota) for stream, quota in zip(self.streams, self.quotas, strict=True)]
        groups = [self._parts(users, ends) for users, ends in draws]
        if self.joint:
            groups = [[part] for part in groups[0]]
        batches = [batch for group in groups for batch in group]
        counts = [len(targets) for _, targets in batches]
        drawn = self.loss.candidates(np.concatenate([t.cpu().numpy() for _, t in batches]), self.rng)
        parts = iter(zip(batches, drawn.split(counts), strict=True))
        return [[(*batch, part) for batch, part in islice(parts, len(group))] for group in groups], drawn.items

    def _differentiate(
        self, gradients: GroupGradients, losses: Losses, share: Float[Tensor, " G"], rows: Tensor | None, when: str
    ) -> tuple[list[float], list[float]]:
        """The losses of the groups and the weights of the strata; sets the aggregated gradient of the parameters."""
        prior = self.rule.prior(share)
        weights: Tensor | None = prior
        if self.rule.aggregate is None:
            values = self.rule.accumulate(gradients, losses, prior.tolist())
            self._check(values, when)
        else:
            matrix, values = gradients.compute(losses)
            self._check(values, when)
            losses_now, share, prior = (t.to(self.device) for t in (torch.tensor(values), share, prior))
            gradient, weights = self.rule.aggregate(Step(matrix, losses_now, share, prior, rows))
            gradients.assign(gradient)
        if self.joint or weights is None:
            return values, []
        # A stratum without training users has the weight 0.
        of_all = np.zeros(len(self.dataset.strata.training))
        of_all[self.present] = weights.tolist()
        return values, of_all.tolist()

    def _check(self, values: list[float], when: str) -> None:
        """Raises `DivergedError` if the loss of a group is not finite."""
        for group, value in enumerate(values):
            if not math.isfinite(value):
                whose = f"stratum {self.present[group] + 1}" if not self.joint else "the batch"
                raise self._diverged(f"the loss of {whose} is {value} at {when}")

    def _draw(self, stream: "_Shuffled", quota: int) -> tuple[np.ndarray, np.ndarray]:
        """The next users of a stream, and the position at which each user's window ends."""
        users = stream.take(quota)
        return users, self.batches.ends(users, self.rng)

    def _parts(self, users: np.ndarray, ends: np.ndarray) -> list[tuple[Int[Tensor, "B L"], Int[Tensor, " N"]]]:
        """Inputs and targets of these users, in parts of similar length if padding costs time."""
        limit = self.config.backbone.max_length + 1
        parts = length_buckets(users, ends, limit) if self.model.pads else [(users, ends)]
        return [self.batches.gather(*part) for part in parts]

    def _group_loss(self, group: list[Part], total: int, parameters: list[nn.Parameter]) -> Float[Tensor, ""]:
        """Sum of the losses over the targets of a group, divided by `total`; without any, 0 with gradients of 0."""
        losses = [self._loss(*part) * (len(part[1]) / total) for part in group]
        return torch.stack(losses or [p.flatten()[:0].sum() for p in parameters]).sum()

    def _loss(self, inputs: Int[Tensor, "B L"], targets: Int[Tensor, " N"], drawn: Any) -> Tensor:
        inputs, targets, drawn = self.sparse_rows.named(inputs, targets, drawn)
        return self.model.loss(inputs, targets, self.loss, drawn, self.noise)

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"{what}. The usual cause is a learning rate that is too high for this backbone: lower "
            f"backbone_training.schedule.learning_rate (now {self.config.schedule.learning_rate}).",
            self.best,
        )

    def _finished(self, model: Backbone) -> Backbone:
        """The model, which goes on no longer, for all items of the dataset."""
        return with_unknown(model.finish(), self.whole.n_items, self.counts)

    def _validate(self, epoch: int) -> dict[str, float]:
        self.updates.settle()
        users = validation_users(self.dataset, self.config.schedule.validation_users)
        sequences, split = self.dataset.sequences, self.dataset.split
        finished = self._finished(copy.deepcopy(self.average))  # the average itself goes on
        found, mine = np.zeros((2, len(users))), self.peers.own_users(len(users))
        own = users[mine]
        try:
            ranks = target_ranks(BackboneScorer(finished), sequences, own, split.valid_at[own], split.exclude_seen)
            found[:, mine] = ranks.rank, ranks.candidates
        except FloatingPointError:
            found[:] = np.nan
        self.peers.add_up(torch.from_numpy(found))
        if np.isnan(found).any():
            raise self._diverged(f"a validation score is not finite after epoch {epoch}")
        groups = self.dataset.strata.groups(split.train_end[users])
        table = metrics_by_group(Ranks(*found), {name: groups[name] for name in ("all", "head", "tail")})
        ndcg = {name: values["ndcg_at_10"] for name, values in table.items()}
        if "all" in ndcg and (self.best is None or ndcg["all"] > self.best.valid_ndcg):
            self.best = Checkpoint(epoch, ndcg["all"], finished)
        return ndcg


def validation_users(dataset: Dataset, limit: int) -> Int[np.ndarray, " U"]:
    """Users with a validation target, or a fixed sample of `limit` of them: those of the validation curve."""
    users = dataset.validation_users
    return np.sort(np.random.default_rng(0).choice(users, limit, replace=False)) if len(users) > limit else users


class _Shuffled:
    """An endless stream of users: pass after pass over all users, each in a new random order."""

    def __init__(self, users: np.ndarray, rng: np.random.Generator) -> None:
        self.users, self.rng, self.queue = users, rng, np.empty(0, np.int64)

    def take(self, count: int) -> np.ndarray:
        """The next `count` users; more than one pass if there are fewer users."""
        while len(self.queue) < count:
            self.queue = np.concatenate([self.queue, self.rng.permutation(self.users)])
        taken, self.queue = np.split(self.queue, [count])
        return taken
