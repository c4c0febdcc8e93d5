"""Methods that give head and tail users a scorer each, for comparison in the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.activeness import Strata
from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.ranks import Scorer
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.studies.transfer.config import FineTuningConfig, TransferConfig, UserBranchConfig
from pinet_kedro.studies.transfer.user_branch import fit_user_branch
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining


@dataclass(frozen=True)
class HeadTailScorer:
    """Scores of `tail` for tail users and of `head` for head users, by their number of known events."""

    head_tail: Strata
    tail: Scorer
    head: Scorer

    @property
    def history_length(self) -> int:
        return max(self.tail.history_length, self.head.history_length)

    @property
    def n_items(self) -> int:
        return self.tail.n_items

    @torch.no_grad()
    def scores(self, histories: Int[Tensor, "B L"], lengths: Int[np.ndarray, " B"]) -> Float[Tensor, "B I"]:
        """Logits of items 1..I."""
        out = torch.empty(len(histories), self.n_items)
        group = self.head_tail.assign(lengths)
        for g, scorer in enumerate((self.tail, self.head)):
            users = np.flatnonzero(group == g)
            if len(users):
                rows = torch.from_numpy(users)
                out[rows] = scorer.scores(histories[rows], lengths[users])
        return out


def transfer(
    config: TransferConfig,
    base: Callable[[], Backbone],
    dataset: Dataset,
    training: BackboneTraining,
) -> HeadTailScorer:
    """The scorer of a method; `base` is called only if the method starts from the trained backbone.

    - separate: a backbone per group, trained from scratch on its users alone, for as many epochs as the base (and thus
      fewer steps);
    - fine_tuning: the base, trained further on the users of a group alone for the number of epochs, 0 included, that is
      best by their validation NDCG@10;
    - user_branch: the base, and for tail users what `fit_user_branch` adds to it.

    Training within a group aggregates gradients where `training` has an aggregation.
    """
    strata = dataset.strata
    if isinstance(config, UserBranchConfig):
        backbone = base()
        branch = fit_user_branch(backbone, dataset, config, training.seed)
        return HeadTailScorer(strata.head_tail, branch, BackboneScorer(backbone))
    start = None
    if isinstance(config, FineTuningConfig):
        start, training = base(), _fine_tuning(config, training, dataset.n_users)
    head = strata.head_tail.assign(dataset.split.train_end) == 1
    tail_model, head_model = (
        train_backbone(
            replace(dataset, split=dataset.split.only(users)), training, start=start, keep_best=start is not None
        )
        for users in (~head, head)
    )
    return HeadTailScorer(strata.head_tail, BackboneScorer(tail_model), BackboneScorer(head_model))


def _fine_tuning(config: FineTuningConfig, training: BackboneTraining, users: int) -> BackboneTraining:
    """The base's settings with the method's epochs and learning rate; every epoch is validated on the whole group."""
    changes = {"epochs": config.epochs, "learning_rate": config.learning_rate, "validate_every": 1}
    schedule = training.schedule.model_copy(update={**changes, "validation_users": users})
    return training.model_copy(update={"schedule": schedule})
