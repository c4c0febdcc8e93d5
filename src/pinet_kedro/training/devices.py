"""The torch device of a configuration."""

import torch

from pinet_kedro.errors import InputError


def find_device(name: str) -> torch.device:
    """The device `name`. Raises `InputError`, which lists the available devices, if torch does not have it."""
    known = ["cpu"]
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        known += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]
    if name not in known:
        raise InputError(
            f"backbone_training.device = '{name}': torch has no such device here; available are {', '.join(known)}."
        )
    return torch.device(name)
