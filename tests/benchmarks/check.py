"""Whether anything has become dearer: counts of a few small jobs against `bounds.json`.

    python tests/benchmarks/check.py             exit status 1 where a count exceeds its bound by more than 5 %
    python tests/benchmarks/check.py --update    today's counts become the bounds

What is counted does not depend on how busy the machine is: operators that torch calls, memory that it allocates on the
way, floating-point operations of matrix products, and the largest memory that numpy holds. One figure is a ratio of
times, a strata step to a joint step, and has a bound of its own that counts as it stands.
"""

import argparse
import json
import statistics
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measuring import alternately, ratios
from step import Steps, log_of
from torch.utils.flop_counter import FlopCounterMode

from pinet_kedro.activeness import Stratification
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.dataset import build_dataset
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.sequences import build_sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, without_repeats
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.config import MemoryConfig
from pinet_kedro.plugins.memory import build_memory

BOUNDS = Path(__file__).with_name("bounds.json")
TOLERANCE = 1.05
RATIO = "seconds of a strata step / a joint step, sasrec, tail"
MOST = 1.4


def torch_counts(call: Callable[[], object]) -> dict[str, float]:
    """Operators, MiB allocated in all and MFLOP of matrix products in a call."""
    with FlopCounterMode(display=False) as flops:
        call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.events()
    operators = sum(event.name.startswith("aten::") for event in events)
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in events)
    return {"operators": operators, "MiB allocated": allocated / 2**20, "MFLOP": flops.get_total_flops() / 1e6}


def numpy_peak(call: Callable[[], object]) -> dict[str, float]:
    """Largest memory that a call held at a time, MiB."""
    call()
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"MiB at a time": peak / 2**20}


def counts() -> Iterator[tuple[str, float]]:
    """Every count under its name."""
    torch.set_num_threads(1)
    torch.manual_seed(1)

    def named(job: str, found: dict[str, float]) -> Iterator[tuple[str, float]]:
        for what, value in found.items():
            yield f"{what}, {job}", round(value, 2)

    for backbone in ("sasrec", "gru4rec", "din", "lrurec"):
        for strata in (None, 5):
            steps = Steps("tail", backbone, strata)
            steps()  # the first step allocates what the others keep
            yield from named(f"{'strata' if strata else 'joint'} steps of {backbone}", torch_counts(steps))
    log = log_of("tail")
    at = without_repeats(log.sequences, log.split).test_at
    users = np.flatnonzero(at > 0)[:500]
    model = BackboneScorer(build_backbone(SASRecConfig(), 5000).eval())
    rank = lambda: target_ranks(model, log.sequences, users, at[users], exclude_seen=True)  # noqa: E731
    yield from named("ranking 500 users of 5,000 items", torch_counts(rank))
    events = generate_interactions(SyntheticLog(users=2000, items=1000))
    yield from named("cleaning 100,000 events", numpy_peak(lambda: clean_events(events, Cleaning())))
    clean, _ = clean_events(events, Cleaning())
    yield from named("sequences of these", numpy_peak(lambda: build_sequences(clean)))
    dataset, _ = build_dataset(clean, Splitting(), ExcludeSeen(True), Stratification())
    memory = numpy_peak(lambda: build_memory(dataset, MemoryConfig()))
    yield from named("memory of their transitions", memory)


def ratio() -> float:
    """Median over repetitions side by side."""
    strata, joint = alternately(7, Steps("tail", "sasrec", 5), Steps("tail", "sasrec", None))
    return statistics.median(ratios(strata, joint))


def main() -> None:
    """Compares, or stores with --update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="today's counts become the bounds")
    update = parser.parse_args().update
    bounds = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    found, dearer = {}, []
    for name, value in counts():
        found[name] = value
        bound = bounds.get(name)
        worse = bound is None or value > bound * TOLERANCE
        dearer += [name] * worse
        of = "none" if bound is None else f"{bound:,.2f}"
        say(f"{'DEARER' if worse else 'ok':7}{value:12,.2f}  of {of:>10}  {name}")
    if update:
        BOUNDS.write_text(json.dumps(found, indent=1) + "\n")
        say(f"written: {BOUNDS}")
        return
    measured = ratio()
    dearer += [RATIO] * (measured > MOST)
    say(f"{'DEARER' if measured > MOST else 'ok':7}{measured:12,.2f}  of {MOST:10,.2f}  {RATIO}")
    gone = sorted(set(bounds) - set(found))
    if gone:
        say(f"no longer counted: {', '.join(gone)}")
    if dearer or gone:
        say(
            f"{len(dearer)} dearer than {BOUNDS.name} allows. If that is meant: {sys.executable} {sys.argv[0]} --update"
        )
        sys.exit(1)
    say(f"all {len(found) + 1} within {TOLERANCE - 1:.0%} of {BOUNDS.name}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
