"""Two-stage recommendation for a trained model: the fewest cells to search, and the recall with them."""

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pinet_kedro.asking import Cells
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.recommender import Recommender
from pinet_kedro.retrieval.candidates import Candidates
from pinet_kedro.retrieval.config import TwoStage

log = logging.getLogger(__name__)


def in_two_stages(model: Recommender, dataset: Dataset, config: TwoStage) -> Recommender:
    """The model with candidates for recommending, if its catalogue is as large as configured; else as it is.

    The number of cells is the smallest power of two that reaches the configured recall for half of the drawn users
    after their whole histories. The recall of the other half is stored. If that is lower than configured, or the model
    has no scores to search for, a warning says so, and the model recommends from the whole catalogue.
    """
    if config.from_items is None or model.n_items < config.from_items:
        return model
    if why := model.scored.why_not():
        log.warning("The model recommends from the whole catalogue, not in two stages: %s.", why)
        return model
    log.info("Candidates for two-stage recommendation: building the index of %s items", f"{model.n_items:,}")
    candidates = Candidates.of(model.scored, config.number)
    chosen, measured = _halves(dataset, config)
    exact = _Exact(model, dataset, chosen, candidates.most)
    probes = [2**power for power in range(candidates.linear.cells.bit_length())] + [candidates.linear.cells]
    for number in probes:
        candidates = replace(candidates, probes=number)
        if min(exact.recall(candidates).values()) >= config.recall:
            break
    candidates = replace(candidates, recall=_Exact(model, dataset, measured, candidates.most).recall(candidates))
    if not min(candidates.recall.values()) >= config.recall:  # or NaN, where no user has an item left
        log.warning(
            "The model recommends from the whole catalogue: two stages find %s, fewer than two_stage.recall %s. "
            "A larger two_stage.number finds more.", candidates, config.recall,
        )  # fmt: skip
        return model
    log.info("Two stages find %s", candidates)
    return replace(model, candidates=candidates)


def _halves(dataset: Dataset, config: TwoStage) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
    """Users with a history, drawn for the choice and for the measurement."""
    users = np.flatnonzero(dataset.sequences.lengths > 0)
    drawn = np.random.default_rng(1).permutation(users)[: config.users]
    return np.sort(drawn[::2]), np.sort(drawn[1::2])


class _Exact:
    """The exact best items of users, to compare with."""

    def __init__(self, model: Recommender, dataset: Dataset, users: Int[np.ndarray, " B"], most: int) -> None:
        lengths = dataset.sequences.lengths[users]
        length = min(int(lengths.max(initial=1)), model.history_length)
        nothing = torch.empty(0, dtype=torch.int64)
        self._histories = torch.from_numpy(dataset.sequences.windows(users, lengths, length))
        self._hidden: Cells = (
            seen_items(dataset.sequences, users, lengths) if model.exclude_seen else (nothing, nothing)
        )
        self._scored = model.scored
        self._stratum = model.strata.training.assign(lengths)
        self._scores, self._columns = model.best_of_all(self._histories, lengths, most, self._hidden)

    def recall(self, candidates: Candidates) -> dict[str, float]:
        """Mean share of the exact best k items among the best k candidates, for k = 10 and the largest k."""
        most = self._columns.shape[1]
        scores, found = candidates.best(self._scored, self._histories, self._stratum, most, self._hidden)
        found = found.masked_fill(scores == -torch.inf, -1)
        shares = {}
        for k in sorted({min(10, most), most}):
            there = self._scores[:, :k] > -torch.inf
            shares[str(k)] = float((_members(self._columns[:, :k], found[:, :k]) & there).sum() / there.sum())
        return shares


def _members(items: Int[Tensor, "B K"], among: Int[Tensor, "B K"]) -> Bool[Tensor, "B K"]:
    """Whether each item is among those of the same row."""
    return (items[:, :, None] == among[:, None, :]).any(2)
