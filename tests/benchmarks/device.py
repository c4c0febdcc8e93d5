"""Training steps on a GPU: precision, compilation, and how near they come to what the chip's matrix units can do.

Joint steps and steps of 5 strata as in `step`, on its MovieLens-like log, with ever more users a step. Kinds: float32,
TF32 (products of float32 on matrix units), bfloat16 (autocast of the loss: weights, gradients and moments stay
float32), each as it is and with the backbone's `states` compiled. Time is between CUDA events around a few steps, the
kinds taken in turns. "Of the matrix rate": floating-point operations of the step's matrix products by torch's counter,
a second, over those of a product of two 8,192 x 8,192 matrices of the same kind in the same run. Waits: how often a
step's host waits for the device. Nothing is measured where there is no CUDA device; BENCH_DEVICE=cpu tries the code
without one.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import torch
from measuring import Figure, alternately, ratios
from step import log_of, training_of
from torch.utils.flop_counter import FlopCounterMode

DEVICE = torch.device(os.environ.get("BENCH_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"
REPEATS, STEPS, WARM_UP = 7, 5, 12
BACKBONES = ("sasrec", "gru4rec", "din", "lrurec") if ON_GPU else ("sasrec",)
USERS = (128, 512, 2000) if ON_GPU else (64,)
SIDE = 8192 if ON_GPU else 1024
KINDS = tuple(product(("float32", "tf32", "bfloat16"), (False, True)))


class Steps:
    """Training steps of one kind, one call a few of them."""

    def __init__(self, backbone: str, users: int, strata: int | None, precision: str, compiled: bool) -> None:
        settings = {"backbone": {"name": backbone}, "schedule": {"batch_users": users}, "device": str(DEVICE)}
        self.training = training_of(log_of("long"), 5000, strata, settings)
        self.precision = precision
        model = self.training.model
        if precision == "bfloat16":
            model.loss = torch.autocast(DEVICE.type, torch.bfloat16)(model.loss)
        if compiled:
            model.states = torch.compile(model.states, dynamic=True)

    def __call__(self, steps: int = STEPS) -> None:
        with products_in(self.precision):
            for step in range(steps):
                self.training._step(1, step)

    def targets(self) -> float:
        """Targets of a step, the mean over a few."""
        read = [self.training._read()[0] for _ in range(10)]
        return sum(len(targets) for groups in read for group in groups for _, targets, _ in group) / len(read)

    def flops(self) -> float:
        """Floating-point operations of a step's matrix products."""
        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops() / STEPS

    def waits(self) -> float:
        """How often the host waits for the device in a step."""
        with torch.profiler.profile() as profile:
            self()
        return sum("Synchronize" in event.name for event in profile.events()) / STEPS


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Products of float32 inside the block by TF32, if that is the precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def seconds(call: Callable[[], object]) -> float:
    """Between two events of the device around a call; of the clock where it has none."""
    if not ON_GPU:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def matrix_rate(precision: str) -> list[float]:
    """Floating-point operations a second of a large product."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(SIDE, SIDE, device=DEVICE, dtype=dtype) for _ in range(2))
    with products_in(precision):
        [times] = alternately(REPEATS, lambda: a @ b, spent=seconds)
    return [2 * SIDE**3 / taken for taken in times]


def figures() -> Iterator[Figure]:
    """The chip's rates, then per backbone and users a step every kind; none without a device."""
    if ON_GPU and not torch.cuda.is_available():
        return
    torch.manual_seed(1)
    name = torch.cuda.get_device_name(DEVICE) if ON_GPU else "cpu"
    rates = {precision: matrix_rate(precision) for precision in ("float32", "tf32", "bfloat16")}
    for precision, rate in rates.items():
        yield Figure("matrix rate", "TFLOP/s", [r / 1e12 for r in rate], {"device": name, "precision": precision})
    for backbone, users in product(BACKBONES, USERS):
        kinds = {
            (strata, precision, compiled): Steps(backbone, users, strata, precision, compiled)
            for strata, (precision, compiled) in product((None, 5), KINDS)
            if not compiled or backbone == "sasrec"  # the others' loops over lengths are not for the compiler
        }
        for steps in kinds.values():
            steps(WARM_UP)
        taken = dict(zip(kinds, alternately(REPEATS, *kinds.values(), spent=seconds), strict=True))
        plain = taken[None, "float32", False]
        for (strata, precision, compiled), times in taken.items():
            steps = kinds[strata, precision, compiled]
            at = {"backbone": backbone, "users": users, "strata": strata or "joint", "precision": precision}
            at |= {"compiled": compiled}
            yield Figure("step", "ms", [1000 * t / STEPS for t in times], at)
            yield Figure("step / joint float32", "x", ratios(times, plain), at)
            events = steps.targets()
            yield Figure("training targets", "per s", [events * STEPS / t for t in times], at)
            if not compiled:  # the counter would not see into what is compiled
                peak = statistics.median(rates[precision])
                operations = steps.flops()
                share = [100 * operations * STEPS / t / peak for t in times]
                yield Figure("of the matrix rate", "%", share, at)
                yield Figure("waits for the device", "a step", [steps.waits()], at)
