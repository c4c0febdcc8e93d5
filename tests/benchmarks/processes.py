"""Training steps on two processes against one, one thread each: CPU time, waiting, and what they send.

Joint steps and steps of 5 strata, each kind by one process and by two in turns, a few steps at a time, while the other
process sleeps. Logs: MovieLens-100k where data/01_raw/ml-100k.inter is, and of `step` the long and the tail-heavy one.
CPU / one process: of both processes together; 1 is no overhead. Speed-up: CPU time of one process over that of the
slower of the two, step by step, which is the speed-up where both have a core and the exchange costs nothing but CPU
time. Seconds: the same by the clock, which a busy machine falsifies. Waiting: clock time in the exchange that is no CPU
time of the process, as a share of its clock time; on a busy machine this is mostly the wait for a core. Sent: what a
process sends to the other one in a step, the mean of both.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Figure, ratios
from step import log_of

from pinet_kedro.activeness import Stratification
from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.dataset import Dataset, build_dataset
from pinet_kedro.interactions.events import Cleaning, Columns, clean_events, read_interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.processes.beside import Several, beside
from pinet_kedro.training.backbone import _Training
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.peers import ALONE, Peers, joined

REPEATS, STEPS, PROCESSES = 5, 4, 2
RAW = Path("data/01_raw/ml-100k.inter")
SAMPLED = {"loss": {"name": "sampled_softmax"}, "schedule": {"batch_users": 256}}


class Timed(Peers):
    """Peers that note, in `SPENT`, the wait in every exchange, and the bytes that this process sends to others."""

    def add_up(self, tensor: torch.Tensor) -> None:
        with self._timed(2 * (self.count - 1) * tensor.numel() * tensor.element_size() / self.count):
            super().add_up(tensor)

    def swap(self, sent: torch.Tensor, lengths: list[int], expected: list[int]) -> torch.Tensor:
        with self._timed((sum(lengths) - lengths[self.rank]) * sent.element_size()):
            return super().swap(sent, lengths, expected)

    @contextmanager
    def _timed(self, size: float) -> Iterator[None]:
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        SPENT.append((clock - cpu, size))


SPENT: list[tuple[float, float]] = []


def training_of(dataset: Dataset, strata: bool, settings: dict[str, Any], peers: Peers) -> _Training:
    """A training, ready for steps."""
    aggregation = DeconfoundedConfig() if strata else None
    config = BackboneTraining.model_validate({**settings, "aggregation": aggregation})
    training = _Training(dataset, config, torch.device("cpu"), peers=peers)
    training.model.train()
    return training


def steps(training: _Training) -> tuple[float, list[float]]:
    """Clock time of a few steps, and CPU time of each."""
    started, cpu = time.perf_counter(), [time.process_time()]
    for step in range(STEPS):
        training._step(1, step)
        cpu.append(time.process_time())
    return time.perf_counter() - started, np.diff(cpu).tolist()


def as_peer(where: dict[str, Any], dataset: Dataset, strata: bool, settings: dict[str, Any], send: Any) -> list[Any]:
    """Per repetition: the steps of one process, if this is the first; those of both; waiting and bytes sent."""
    torch.set_num_threads(1)
    with joined("cpu", **where) as peers:
        alone = training_of(dataset, strata, settings, ALONE) if peers.rank == 0 else None
        both = training_of(dataset, strata, settings, Timed(peers.rank, peers.count))
        found = []
        for _ in range(REPEATS + 1):
            of_one = steps(alone) if alone else None
            peers.add_up(torch.zeros(1))  # the other process sleeps until here
            SPENT.clear()
            of_both = steps(both)
            found.append((of_one, of_both, sum(waited for waited, _ in SPENT), sum(b for _, b in SPENT) / STEPS))
    return found[1:]


def logs() -> Iterator[tuple[str, Dataset, dict[str, Any]]]:
    """The logs, and settings of the training on them."""
    if RAW.exists():
        columns = Columns(user="user_id:token", item="item_id:token", timestamp="timestamp:float")
        events, _ = clean_events(read_interactions(RAW, columns, "s").events, Cleaning())
        yield "MovieLens-100k", build_dataset(events, Splitting(), ExcludeSeen(True), Stratification())[0], {}
    yield "long", log_of("long"), {}
    yield "long, 256 users", log_of("long"), {"schedule": {"batch_users": 256}}
    yield "long, sampled, lazy", log_of("long", items=100_000), SAMPLED
    yield "tail, sampled", log_of("tail"), SAMPLED


def figures() -> Iterator[Figure]:
    """Per log, joint and by strata."""
    for name, dataset, settings in logs():
        for strata in (False, True):
            with ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                meeting = {"init_method": Path(folder, "peers").as_uri(), "world_size": PROCESSES}
                calls = [
                    stack.enter_context(beside(as_peer, {**meeting, "rank": rank}, dataset, strata, settings))
                    for rank in range(PROCESSES)
                ]
                Several(calls).result()
                first, second = (call.result() for call in calls)
            at = {"log": name, "strata": 5 if strata else "joint"}
            one = [sum(of_one[1]) for of_one, *_ in first]
            pairs = [list(zip(a[1][1], b[1][1], strict=True)) for a, b in zip(first, second, strict=True)]
            yield Figure("step of one process", "CPU ms", [1000 * t / STEPS for t in one], at)
            yield Figure("CPU / one process", "x", ratios([sum(map(sum, pair)) for pair in pairs], one), at)
            yield Figure("speed-up", "x", ratios(one, [sum(map(max, pair)) for pair in pairs]), at)
            yield Figure("speed-up, seconds", "x", [of_one[0] / of_both[0] for of_one, of_both, *_ in first], at)
            yield Figure("waiting", "%", [100 * waited / both[0] for _, both, waited, _ in first], at)
            yield Figure("sent a step", "MB", [(first[0][3] + second[0][3]) / 2e6], at)
