"""Trainings on all processes of torchrun: the first leads, from a Kedro node, and the others assist (`torchrun.py`)."""

import os
import socket
from contextlib import suppress
from typing import NamedTuple

import torch
import torch.distributed as dist

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import EndedError, InputError
from pinet_kedro.provenance import method_version
from pinet_kedro.training.backbone import DivergedError, OnEpoch, backbone_memory, train_backbone
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.memory import check_memory
from pinet_kedro.training.peers import Peers


class _Job(NamedTuple):
    """A training, and what must be the same on all hosts."""

    dataset: Dataset
    config: BackboneTraining
    start: Backbone | None
    code: str
    data: str


def lead(dataset: Dataset, config: BackboneTraining, on_epoch: OnEpoch, start: Backbone | None) -> Backbone:
    """The backbone, trained by this process and all that assist it."""
    peers = Peers(0, dist.get_world_size())
    peers.hand_out(job := _Job(dataset, config, start, method_version(), dataset.split_sha256))
    try:
        return _take_part(job, peers, on_epoch)
    except DivergedError:  # in all processes
        raise
    except BaseException:
        dist.destroy_process_group()  # the others are in the middle of a step, and end
        raise


def assist(peers: Peers) -> None:
    """Takes part in the trainings of the first process until it has no more."""
    while (job := peers.hand_out()) is not None:
        for what, mine, theirs in (
            ("code", method_version(), job.code),
            ("data in data/05_model_input", job.dataset.split_sha256, job.data),
        ):
            if mine != theirs:
                raise InputError(f"{socket.gethostname()} has other {what} than the first host: copy them from there")
        with suppress(DivergedError):  # the first process says so
            _take_part(job, peers)


def dismiss(peers: Peers) -> None:
    """Ends the processes that assist, where they are waiting."""
    if dist.is_initialized():
        with suppress(EndedError):
            peers.hand_out(None)


def _take_part(job: _Job, peers: Peers, on_epoch: OnEpoch | None = None) -> Backbone:
    device = job.config.device
    if device == "cpu":
        check_memory(backbone_memory(job.dataset, job.config), int(os.environ["LOCAL_WORLD_SIZE"]))
        peers.add_up(torch.zeros(1))  # nobody takes memory before all have looked
    else:
        device = f"{device}:{os.environ['LOCAL_RANK']}"
    own = job.config.model_copy(update={"device": device})
    return train_backbone(job.dataset, own, on_epoch, job.start, peers=peers)
