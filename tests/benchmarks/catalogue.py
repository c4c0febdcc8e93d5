"""Training steps, ranking and recommending as the catalogue grows from ten thousand items to a million, one thread.

A step: 256 users with histories of random items (median 6 events, mean 12), sampled softmax with 1,500 drawn items,
width 64, `item_updates: lazy`; CPU time, the sizes taken in turns, a ratio being of repetitions side by side. What is
left of growth is memory: rows that no cache holds, and more distinct ones of them ("rows"). Dense: the same with
`item_updates: dense`. Memory of a step: peak of the resident memory of a fresh process in later steps beyond what the
first two have left. Model and state: what is kept between steps, by its shapes: weights, their average, two moments,
and a gradient average a stratum. Not in a step's time: once in 540 steps the strata's averages are brought back to size
as a whole.

Ranking and recommending (ten best, seen items left out), by the backbone alone and with plugins (memory, 64 factors,
popularity and recency): CPU time for 1,000 users, and peak of a fresh process beyond its memory before. In two stages:
the same with candidates from 16 cells (retrieval/candidates.py), the time for one user at a time, and what the index
takes to build; vectors of items are random here, and how much is found is for trained models to say.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from measuring import Figure, alternately, in_fresh_process, ratios
from step import log_of, training_of

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.evaluation.ranks import seen_items, target_ranks
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.plugins import Plugins
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender
from pinet_kedro.retrieval.candidates import Candidates
from pinet_kedro.retrieval.config import TwoStage

SIZES = (10_000, 100_000, 1_000_000)
USERS, BATCH = 10_000, 256
REPEATS, STEPS = 5, 2
RANKED = {10_000: 1000, 100_000: 1000, 1_000_000: 128}


class Steps:
    """Training steps in a catalogue of this size, one call a few of them."""

    def __init__(self, items: int, backbone: str, strata: int | None, item_updates: str = "lazy") -> None:
        settings = {
            "backbone": {"name": backbone},
            "loss": {"name": "sampled_softmax"},
            "schedule": {"batch_users": BATCH, "item_updates": item_updates},
        }
        self.training = training_of(log_of("tail", USERS, items), strata, settings)
        self.rows: list[float] = []
        search = self.training.sparse_rows.rows

        def counted(*told: object) -> torch.Tensor | None:
            found = search(*told)
            self.rows.append(float(items if found is None else len(found)))
            return found

        self.training.sparse_rows.rows = counted

    def __call__(self) -> None:
        for step in range(STEPS):
            self.training._step(1, step)

    def kept(self) -> int:
        """Bytes of weights, average, moments and the strata's averages."""
        numbers = sum(p.numel() for p in self.training.model.parameters())
        return 4 * numbers * (4 + len(self.training.streams) * (not self.training.joint))


def memory_of_steps(items: int, backbone: str, strata: int | None) -> tuple[int, int]:
    """Peak of resident memory in steps beyond what is there between them, and what is kept by its shapes, in bytes."""
    steps = Steps(items, backbone, strata)
    steps()
    return peak_beyond(steps), steps.kept()


class Ranking:
    """Users ranked or recommended to, one call all of them."""

    def __init__(self, items: int, plugged: bool) -> None:
        dataset = log_of("tail", RANKED[items], items)
        self.sequences, self.split = dataset.sequences, dataset.split
        self.users = np.arange(RANKED[items])
        model = build_backbone(SASRecConfig(), items).eval()
        popularity = count_popularity(dataset)
        plugins = None
        if plugged:
            config = PluginTraining(memory_search=None)
            scorers = build_scorers(dataset, popularity, config)
            strata = len(dataset.strata.training)
            theta = torch.full((strata, 1 + len(scorers.names)), 0.5)
            plugins = Plugins(config, theta, ("own",) * strata, scorers)
        self.recommender = Recommender(model, dataset.strata, popularity, np.arange(items), plugins)

    def in_two_stages(self) -> float:
        """Makes `recommend` search for candidates, and returns the CPU seconds of building the index."""
        model, started = self.recommender, time.process_time()
        candidates = Candidates.of(model.scored, TwoStage().number)
        self.recommender = replace(model, candidates=replace(candidates, probes=16))
        return time.process_time() - started

    def rank(self) -> None:
        target_ranks(self.recommender, self.sequences, self.users, self.split.test_at, self.split.exclude_seen)

    def recommend(self, users: slice = slice(None)) -> None:
        users, ends = self.users[users], self.sequences.lengths[users]
        histories = torch.from_numpy(self.sequences.windows(users, ends, 50))
        self.recommender.best(histories, ends, 10, seen_items(self.sequences, users, ends))

    def times_of_one(self) -> list[float]:
        """CPU seconds for each of a hundred users alone."""
        taken = []
        for user in range(100):
            started = time.process_time()
            self.recommend(slice(user, user + 1))
            taken.append(time.process_time() - started)
        return taken


def memory_of_ranking(items: int, plugged: bool, what: str) -> int:
    """Peak of resident memory beyond what there was before, in bytes."""
    return peak_beyond(getattr(Ranking(items, plugged), what))


def peak_beyond(call: Callable[[], None]) -> int:
    """Peak of resident memory in a call beyond what there was before, in bytes; Linux alone can tell."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = resident()
    call()
    return resident("VmHWM") - before


def resident(line: str = "VmRSS") -> int:
    """Resident memory of this process in bytes."""
    told = Path("/proc/self/status").read_text().splitlines()
    return int(next(entry for entry in told if entry.startswith(line)).split()[1]) * 1024


def figures() -> Iterator[Figure]:
    """Steps by backbone, strata and size; then ranking and recommending by size."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for backbone in ("sasrec", "gru4rec"):
        for strata in (None, 5):
            kinds = [Steps(items, backbone, strata) for items in SIZES]
            times = alternately(REPEATS, *kinds)
            for items, steps, taken in zip(SIZES, kinds, times, strict=True):
                at = {"items": items, "backbone": backbone, "strata": strata or "joint"}
                yield Figure("step", "ms", [1000 * t / STEPS for t in taken], at)
                yield Figure("step / at 10,000 items", "x", ratios(taken, times[0]), at)
                yield Figure("rows", "", steps.rows, at)
            del kinds
            for items in SIZES:
                at = {"items": items, "backbone": backbone, "strata": strata or "joint"}
                beyond, kept = in_fresh_process(memory_of_steps, items, backbone, strata).value
                yield Figure("memory of a step", "MiB", [beyond / 2**20], at)
                yield Figure("model and state", "MiB", [kept / 2**20], at)
    for items in SIZES:  # one at a time: they would keep gradients of whole tables
        [taken] = alternately(3, Steps(items, "sasrec", None, "dense"))
        yield Figure("dense step", "ms", [1000 * t / STEPS for t in taken], {"items": items, "backbone": "sasrec"})
    for plugged, items in product((False, True), SIZES):
        ranking = Ranking(items, plugged)
        times = alternately(3, ranking.rank, ranking.recommend)
        for what, taken in zip(("rank", "recommend"), times, strict=True):
            at = {"items": items, "backbone": "sasrec", "plugins": plugged}
            yield Figure(f"{what} 1,000 users", "s", [1000 * t / RANKED[items] for t in taken], at)
            beyond = in_fresh_process(memory_of_ranking, items, plugged, what).value
            yield Figure(f"memory to {what}", "MiB", [beyond / 2**20], at)
    for items in SIZES:
        one, two = Ranking(items, plugged=True), Ranking(items, plugged=True)
        at = {"items": items, "backbone": "sasrec", "plugins": True}
        yield Figure("index of candidates", "s", [two.in_two_stages()], at)
        times = alternately(3, one.recommend, two.recommend)
        yield Figure("recommend in two stages 1,000 users", "s", [1000 * t / RANKED[items] for t in times[1]], at)
        yield Figure("two stages / one", "x", ratios(times[1], times[0]), at)
        for name, ranking in (("one user", one), ("one user in two stages", two)):
            yield Figure(name, "ms", [1000 * t for t in ranking.times_of_one()], at)
