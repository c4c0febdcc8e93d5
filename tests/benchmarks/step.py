"""A step of deconfounded aggregation against a joint step of as many users, one thread.

CPU time of training steps, taken in turns; a ratio is of repetitions side by side. The joint step is the one that
training takes, where no padding is computed; "padded" is one batch as long as its longest history, as libraries
usually compute it (GRU4Rec by torch's own GRU, DIN without sorting users by length).
Histories are random items of a Zipf catalogue whose lengths are drawn from three distributions: long (log-normal,
median 65, at most 700; MovieLens-100k has 65 and 737), tail (3 + geometric, and a tenth of the users log-normal to 200:
median 6, mean 12) and even (all between 40 and 50: the strata then save no padding). Matrix products: share of the
operators' own CPU time by torch's profiler.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from measuring import Figure, alternately, ratios
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.backbones import din
from pinet_kedro.dataset import Dataset
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split
from pinet_kedro.training.backbone import _Training
from pinet_kedro.training.config import BackboneTraining

REPEATS, STEPS = 7, 3
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm")


def log_of(shape: str, users: int = 2000, items: int = 5000) -> Dataset:
    """Random histories whose lengths have this shape, under leave-one-out, in five strata."""
    rng = np.random.default_rng(1)
    if shape == "long":
        lengths = np.clip(rng.lognormal(np.log(65), 0.9, users), 8, 700)
    elif shape == "tail":
        few, many = 3 + rng.geometric(0.25, users), rng.lognormal(np.log(40), 0.8, users)
        lengths = np.where(rng.random(users) < 0.1, np.clip(many, 10, 200), few)
    else:
        lengths = rng.integers(40, 51, users)
    offsets = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
    weight = 1 / np.arange(1, items + 1)
    drawn = rng.choice(items, offsets[-1], p=weight / weight.sum()) + 1
    length = np.diff(offsets)
    split = Split(train_end=length - 2, valid_at=length - 2, test_at=length - 1, test_from=length - 1)
    sequences = Sequences(drawn.astype(np.int32), np.arange(len(drawn), dtype=np.int64), offsets)
    table = pd.DataFrame({"item_id": np.arange(items).astype(str)})
    return Dataset(sequences, split, fit_strata(split.train_end, Stratification()), table)


def training_of(dataset: Dataset, strata: int | None, settings: dict[str, Any]) -> _Training:
    """A training of this log and these settings, ready for steps: joint, or by so many strata."""
    aggregation = DeconfoundedConfig() if strata else None
    config = BackboneTraining.model_validate({**settings, "aggregation": aggregation})
    groups = fit_strata(dataset.split.train_end, Stratification(strata=strata or 5))
    training = _Training(replace(dataset, strata=groups), config, torch.device(config.device))
    training.model.train()
    return training


class Steps:
    """Training steps, one call a few of them."""

    def __init__(self, shape: str, backbone: str, strata: int | None, padded: bool = False) -> None:
        sampled = {"loss": {"name": "sampled_softmax"}, "schedule": {"batch_users": 256}}
        settings = {"backbone": {"name": backbone}, **(sampled if shape == "tail" else {})}
        self.training = training_of(log_of(shape), strata, settings)
        self.padded = padded

    def __call__(self) -> None:
        with ExitStack() as stack:
            if self.padded:
                stack.enter_context(patch.object(self.training.model, "pads", False))
                stack.enter_context(patch("pinet_kedro.backbones.gru4rec.packed_gru", padded_gru))
                stack.enter_context(patch("pinet_kedro.backbones.din._blocks", blocks_of_equal_length))
            for step in range(STEPS):
                self.training._step(1, step)


def padded_gru(gru: nn.GRU, x: Float[Tensor, "N D"], steps: list[int], rng: Any = None) -> Float[Tensor, "N H"]:
    """As `packed_gru`, with all histories as long as the longest; there is no layer to draw dropout after."""
    packed = PackedSequence(x, torch.tensor(steps))
    whole, lengths = pad_packed_sequence(packed)
    return pack_padded_sequence(gru(whole)[0], lengths).data


def blocks_of_equal_length(
    real: Bool[Tensor, "B L"], numbers: Callable[[int], int]
) -> Iterator[tuple[Int[Tensor, " b"], slice]]:
    """As `din._blocks`, with all histories as long as the longest."""
    for users in torch.arange(len(real)).split(max(1, din._BLOCK_WEIGHTS // numbers(real.shape[1]))):
        yield users, slice(None)


def products(steps: Steps) -> float:
    """Share of CPU time in matrix products."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        steps()
    own = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    return sum(own.get(f"aten::{name}", 0) for name in PRODUCTS) / sum(own.values())


def figures() -> Iterator[Figure]:
    """Per shape of lengths, backbone and number of strata."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for shape in ("long", "tail", "even"):
        for backbone in ("sasrec", "gru4rec", "din", "lrurec"):
            counts = (2, 5, 10) if backbone == "sasrec" else (5,)
            kinds = [Steps(shape, backbone, None), Steps(shape, backbone, None, padded=True)]
            kinds += [Steps(shape, backbone, strata) for strata in counts]
            joint, padded, *by_strata = alternately(REPEATS, *kinds)
            at = {"lengths": shape, "backbone": backbone}
            yield Figure("joint step", "ms", [1000 * t / STEPS for t in joint], at)
            for strata, times in zip(counts, by_strata, strict=True):
                yield Figure("strata / joint", "x", ratios(times, joint), at | {"strata": strata})
                yield Figure("strata / joint padded", "x", ratios(times, padded), at | {"strata": strata})
            if backbone == "sasrec":
                yield Figure("matrix products, joint", "%", [100 * products(kinds[0])], at)
                yield Figure("matrix products, 5 strata", "%", [100 * products(kinds[3])], at)
