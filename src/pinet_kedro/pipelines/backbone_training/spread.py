"""One training on several processes of this machine, started from the node.

torch's `elastic_launch` is not used: it replaces the signal handlers of this process for good, its workers outlive a
parent that is killed, and their reports and errors would come as text. `processes.beside` has none of this.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import EndedError
from pinet_kedro.processes.beside import Several, beside
from pinet_kedro.training.backbone import EpochReport, backbone_memory, train_backbone
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.memory import check_memory
from pinet_kedro.training.peers import ALONE, joined

log = logging.getLogger(__name__)

# A process that has lost another one gives that one's own error so much time to arrive first.
_GRACE_S = 10
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@contextmanager
def spread(dataset: Dataset, config: BackboneTraining, start: Backbone | None) -> Iterator[Several]:
    """Starts `train_backbone` in `config.processes` processes: its reports, without models, and the trained backbone.

    They are killed when the block ends. If one of them ends early, reading the reports raises `EndedError`.
    """
    count = config.processes
    check_memory(backbone_memory(dataset, config), count)
    threads = count * (config.threads or 1)
    if config.device == "cpu" and threads > cores():
        log.warning("backbone_training: %d processes and threads wait for each other on %d cores.", threads, cores())
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="pinet-"))
        meeting = {"init_method": Path(folder, "peers").as_uri(), "world_size": count}
        calls = []
        for rank in range(count):
            device = config.device if config.device == "cpu" or count == 1 else f"{config.device}:{rank}"
            own = config.model_copy(update={"processes": 1, "device": device})
            where = {**meeting, "rank": rank} if count > 1 else {}
            calls.append(stack.enter_context(beside(_train, where, dataset, own, start)))
        yield Several(calls)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _train(
    where: dict[str, Any],
    dataset: Dataset,
    config: BackboneTraining,
    start: Backbone | None,
    send: Callable[[EpochReport], None],
) -> Backbone | None:
    """The trained backbone, from the first process only."""
    if sys.platform in _LOOPBACK:  # all are on this machine, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    with joined(config.device, **where) if where else nullcontext(ALONE) as peers:

        def on_epoch(report: EpochReport) -> None:
            if peers.rank == 0:
                send(replace(report, model=None))

        try:
            trained = train_backbone(dataset, config, on_epoch, start, peers=peers)
        except EndedError:
            time.sleep(_GRACE_S)
            raise
    return trained if peers.rank == 0 else None
