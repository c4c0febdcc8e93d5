"""The noise of the strata's gradients, measured on a backbone while it trains (`estimate.py` has the formulas)."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pinet_kedro.aggregation.group_gradients import GroupGradients
from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.losses.loss import build_loss
from pinet_kedro.randomness import Generators
from pinet_kedro.studies.gradient_noise.estimate import GradientMoments, NoiseEstimate, expected_cosine, users_needed
from pinet_kedro.training.backbone import EpochReport, OnEpoch, train_backbone
from pinet_kedro.training.batches import Batches, quotas
from pinet_kedro.training.config import BackboneTraining, GradientNoise


def measure_while_training(
    dataset: Dataset, training: BackboneTraining, noise: GradientNoise, on_epoch: OnEpoch
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`NoiseMeter`'s tables of strata and of their pairs, at the checkpoints of the base's joint training.

    Of the weights in training, not of their average: it is there that a step takes its gradients. Training itself is
    the same as without the measurement, to the bit.
    """
    meter = NoiseMeter(dataset, training, noise)
    due = set(noise.epochs(training.schedule.epochs))
    tables = []

    def watch(report: EpochReport) -> None:
        on_epoch(report)
        if report.model is not None and report.epoch in due:
            tables.append([table.assign(epoch=report.epoch) for table in meter.measure(report.model)])

    train_backbone(dataset, training.joint(), watch)
    of_strata, of_pairs = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    return of_strata, of_pairs


@dataclass(frozen=True)
class NoiseMeter:
    """Measures the noise on the training users of one dataset.

    A round draws a step's users of every stratum, and all that training draws for them: windows of long histories, one
    candidate set for all strata, dropout unless it is switched off. Users are drawn with replacement: only so are
    rounds independent, and is the variance of a mean over n users Σ/n.
    """

    dataset: Dataset
    training: BackboneTraining
    noise: GradientNoise

    def measure(self, model: Backbone) -> tuple[pd.DataFrame, pd.DataFrame]:
        """One row a part of the parameters and stratum, and one a part and pair of strata. The model is left as it is.

        `step_*` is of the users that a training step has of the stratum, `stratum_*` of as many as there are.
        """
        users = np.flatnonzero(self.dataset.split.train_end >= 2)
        stratum = self.dataset.strata.training.assign(self.dataset.split.train_end[users])
        present = np.unique(stratum)
        groups = [users[stratum == a] for a in present]
        sizes = np.array([len(group) for group in groups])
        drawn = np.array(quotas(sizes.tolist(), self.training.schedule.batch_users))
        estimates = self._moments(model, groups, drawn.tolist()).estimate(drawn)
        labels = np.asarray(self.dataset.strata.training.labels())[present]
        about = {"stratum": present + 1, "label": labels, "users": sizes, "step_users": drawn}
        named = estimates.items()
        return (
            pd.concat([self._strata_table(e, about).assign(part=part) for part, e in named], ignore_index=True),
            pd.concat([_pairs_table(e, present + 1, sizes).assign(part=part) for part, e in named], ignore_index=True),
        )

    def _moments(self, model: Backbone, groups: list[np.ndarray], drawn: list[int]) -> GradientMoments:
        rng = np.random.default_rng(self.noise.seed)
        batches = Batches(self.dataset, self.training)
        loss = build_loss(self.training.loss, self.dataset.split.item_counts(self.dataset.sequences, model.n_items))
        body, items = model.body_and_items()
        gradients = GroupGradients([*body, *items], len(groups))
        parts = {"body": sum(p.numel() for p in body), "items": sum(p.numel() for p in items)}
        moments = GradientMoments(len(groups), parts, self.noise.blocks)
        mode = model.training
        dropout = Generators(self.noise.seed, self.training.device).of_device
        model.train(self.noise.dropout)
        for block in np.repeat(np.arange(self.noise.blocks), self.noise.rounds).tolist():
            chosen = [rng.choice(group, count) for group, count in zip(groups, drawn, strict=True)]
            read = [batches.gather(users, batches.ends(users, rng)) for users in chosen]
            counts = [len(targets) for _, targets in read]
            candidates = loss.candidates(np.concatenate([t.cpu().numpy() for _, t in read]), rng)
            each = zip(read, candidates.split(counts), strict=True)
            losses = (partial(model.loss, inputs, targets, loss, part, dropout) for (inputs, targets), part in each)
            moments.add(block, gradients.compute(losses)[0])
        model.train(mode)
        return moments

    def _strata_table(self, estimate: NoiseEstimate, about: dict[str, np.ndarray]) -> pd.DataFrame:
        scale = estimate.noise_scale
        names = ("squared_norm", "trace", "noise_scale")
        values = {f"{name}{end}": getattr(estimate, f"{name}{end}") for name in names for end in ("", "_error")}
        return pd.DataFrame(about | values).assign(
            step_cosine=expected_cosine(scale, about["step_users"]),
            stratum_cosine=expected_cosine(scale, about["users"]),
            users_needed=users_needed(scale, self.noise.cosine),
        )


def _pairs_table(estimate: NoiseEstimate, strata: np.ndarray, users: np.ndarray) -> pd.DataFrame:
    one, other = np.triu_indices(len(strata), 1)
    known = expected_cosine(estimate.noise_scale, users)
    names = ("cosine", "step_cosine")
    values = {f"{name}{end}": getattr(estimate, f"{name}{end}")[one, other] for name in names for end in ("", "_error")}
    table = pd.DataFrame({"stratum": strata[one], "other": strata[other], **values})
    return table.assign(stratum_cosine=table["cosine"] * known[one] * known[other])
