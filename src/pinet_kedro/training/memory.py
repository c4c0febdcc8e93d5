"""Estimates of the memory that a configuration needs: a run that cannot fit is refused before it starts.

An estimate includes only the large terms and is too low rather than too high, so a refused run would certainly fail.
This file does not import torch.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pinet_kedro.aggregation.config import (
    BackdoorConfig,
    BalancedConfig,
    ConsensusConfig,
    DeconfoundedConfig,
    EffectiveNumberConfig,
    ReptileConfig,
)
from pinet_kedro.backbones.config import BackboneConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.errors import InputError
from pinet_kedro.losses.config import FullSoftmaxConfig
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.training.config import BackboneTraining

_GIB = 2**30
_FLOAT = 4
# Copies of the weights: the model, its average, the gradient, Adam's two moments, and the best validated average.
_COPIES = 6
# Rules that add the gradients of the strata up one by one, and keep none.
_SUMS = (BackdoorConfig, BalancedConfig, EffectiveNumberConfig, ReptileConfig)
# Numbers kept for the backward pass per layer, in states.
_KEPT = 3
# Copies in torch's L-BFGS: a step and a gradient change for each of 60 iterations, and temporaries.
_LBFGS_COPIES = 126
# Users whose plugin parameters are gathered together; the minimum of `evidence.block_users`.
_LEAST_BLOCK = 32


@dataclass(frozen=True)
class Need:
    """A number of bytes for `what`, which grows with `settings`."""

    bytes: float
    what: str
    settings: str


def backbone_needs(
    config: BackboneTraining, n_items: int = 1, strata: int = 0, users: int = 0, events: float = 0.0
) -> list[Need]:
    """The needs of training; a minimum if the data are not known yet.

    `events`: mean number of training events of the `users` that a step reads.
    """
    backbone, name = config.backbone, "backbone_training.backbone"
    weights = _parameters(backbone, n_items)
    copies = _COPIES + (strata if _keeps_gradients(config) else 0)
    settings = f"{name}.width = {backbone.width:,}, {_size(backbone)}"
    needs = [Need(_FLOAT * copies * weights, f"{copies} copies of {weights:,} weights", settings)]
    positions = min(config.schedule.batch_users, users) * min(events, backbone.max_length)
    layers = backbone.layers if isinstance(backbone, GRU4RecConfig) else getattr(backbone, "blocks", 1)
    kept = _FLOAT * positions * (backbone.width + _KEPT * layers * _widest(backbone))
    batch = f"backbone_training.schedule.batch_users = {config.schedule.batch_users:,}, {settings}"
    needs.append(Need(kept, f"the states of {positions:,.0f} positions per step", batch))
    return needs


def state_space_need(config: PluginTraining, width: int) -> list[Need]:
    """The need of fitting plugins on states of this width; empty for the logit space."""
    if config.kind != "state_space":
        return []
    theta = 2 * config.rank * width
    settings = f"plugin_training.rank = {config.rank:,}, backbone_training.backbone.width = {width:,}"
    return [Need(_FLOAT * theta * (_LBFGS_COPIES + _LEAST_BLOCK), f"plugins of {theta:,} parameters", settings)]


def plugin_needs(config: PluginTraining, n_items: int = 1, users: int = 0, block: int = 1) -> list[Need]:
    """The needs of scorers and candidates, for `users` with a validation target and `block` users scored together."""
    needs = []
    if config.factors is not None:
        size = config.factors.factors
        numbers = size * (users + n_items) + size * size * (1 + block)
        settings = f"plugin_training.factors.factors = {size:,}"
        needs.append(Need(_FLOAT * numbers, f"factors of {users + n_items:,} users and items", settings))
    candidates = 1 + min(config.hard_candidates, n_items) + min(config.random_candidates, n_items)
    settings = (
        f"plugin_training.hard_candidates = {config.hard_candidates:,}, random_candidates = "
        f"{config.random_candidates:,}"
    )
    # Per candidate: scores, the scorers' terms and the weight as floats, and the column as an integer of 64 bits.
    terms = 4 + (config.factors is not None) + len(config.scorers)
    needs.append(
        Need(users * candidates * (_FLOAT * (1 + terms) + 8), f"{candidates:,} candidates of {users:,} users", settings)
    )
    return needs


def check_memory(needs: Iterable[Need], processes: int = 1) -> None:
    """Raises `InputError` if the needs of all `processes` exceed the free memory."""
    needs = list(needs)
    total, free = processes * sum(need.bytes for need in needs), free_bytes()
    if total <= free:
        return
    largest = max(needs, key=lambda need: need.bytes)
    each = f", {processes:,} processes at once" if processes > 1 else ""
    raise InputError(
        f"training needs about {_gib(total)} of memory{each}, and {_gib(free)} are free. Most of it is for "
        f"{largest.what}: lower one of {largest.settings}."
    )


def free_bytes() -> float:
    """Free memory of the machine, or of this process's control group if that has less."""
    free = [_machine()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        top, now = (_read(Path("/sys/fs/cgroup", name)) for name in (limit, used))
        if top is not None and now is not None:
            free.append(top - now + (_read(Path("/sys/fs/cgroup/memory.stat"), "inactive_file") or 0))
    return max(min(free), 0)


def _machine() -> float:
    available = _read(Path("/proc/meminfo"), "MemAvailable:")
    if available is not None:
        return 1024 * available
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read(path: Path, name: str | None = None) -> float | None:
    """The number in a file, or in its line `name`; None if there is no number, such as 'max'."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return float(lines[0] if name is None else next(line.split()[1] for line in lines if line.startswith(name)))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _keeps_gradients(config: BackboneTraining) -> bool:
    """Whether the aggregation keeps a gradient of all weights for each stratum.

    With a loss that draws items, the gradients of a step are of few rows of the item tables; then only moving averages
    are as large.
    """
    rule = config.aggregation
    if rule is None or isinstance(rule, _SUMS):
        return False
    if isinstance(config.loss, FullSoftmaxConfig) or isinstance(rule, ConsensusConfig):
        return True
    return isinstance(rule, DeconfoundedConfig) and rule.parameters == "all"


def _parameters(config: BackboneConfig, n_items: int) -> int:
    """Number of weights of a backbone, without biases and norms; an estimate for a backbone that is not shipped."""
    items = (n_items + 1) * config.width
    if isinstance(config, GRU4RecConfig):
        deeper = 6 * (config.layers - 1) * config.hidden**2
        return items + 3 * config.hidden * (config.width + config.hidden) + deeper + config.hidden * config.width
    if isinstance(config, LRURecConfig):
        return items + 4 * config.blocks * config.width * (config.hidden + config.width)
    places = config.max_length * (config.width if _absolute(config) else getattr(config, "heads", 1))
    layers = 8 * config.blocks if isinstance(config, SASRecConfig) else 3
    return items + places + layers * config.width**2


def _widest(config: BackboneConfig) -> int:
    """Width of the widest state in a layer; a complex number counts twice."""
    if isinstance(config, LRURecConfig):
        return 2 * config.hidden
    return config.hidden if isinstance(config, GRU4RecConfig) else config.width


def _absolute(config: BackboneConfig) -> bool:
    return isinstance(config, SASRecConfig) and config.positions == "absolute"


def _size(config: BackboneConfig) -> str:
    """The parameters, besides the width, that determine a backbone's size most."""
    recurrent = isinstance(config, GRU4RecConfig | LRURecConfig)
    names = ("hidden", "layers", "blocks") if recurrent else ("max_length", "blocks", "heads")
    return ", ".join(f"{name} = {getattr(config, name):,}" for name in names if hasattr(config, name))


def _gib(amount: float) -> str:
    return f"{amount / _GIB:,.1f} GiB"
