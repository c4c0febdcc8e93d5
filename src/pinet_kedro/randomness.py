"""Random numbers from a generator of the caller's, where a library draws them and takes no generator."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Functions of torch that draw and are called without a `generator` by those who do not care.
_DRAW = {torch.rand, torch.randn, torch.randint, torch.randperm, torch.rand_like, torch.randn_like}


class Generators(dict[str, torch.Generator]):
    """A seeded generator for each kind of device: the CPU, where weights are drawn, and the device of the training.

    They are the same one where a training runs on the CPU.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        devices = {"cpu": torch.device("cpu"), self.device.type: self.device}
        super().__init__({kind: torch.Generator(where).manual_seed(seed) for kind, where in devices.items()})

    @property
    def of_device(self) -> torch.Generator:
        """That of the training's device."""
        return self[self.device.type]


class DrawsFrom(TorchFunctionMode):
    """Inside the block, what this thread calls draws from these generators instead of torch's own.

    Modules initialise themselves and torchjd's aggregators draw from the generator of the process, which every thread
    uses: seeding it gives other numbers as soon as two nodes run beside each other. A mode of torch belongs to its
    thread, so nothing has to be locked, and the numbers are those of a global generator with the same seed. It costs
    a call of Python for each function of torch, so it is for initialisation and aggregators, not for whole steps.
    """

    def __init__(self, generators: Mapping[str, torch.Generator]) -> None:
        super().__init__()
        self._generators = generators

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Those of `torch.nn.init` name a generator even where it is None.
        if (func in _DRAW or "generator" in kwargs) and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self._generators[_device(args, kwargs).type]}
        return func(*args, **kwargs)


def _device(args: Any, kwargs: Any) -> torch.device:
    """Where a function draws: its argument `device`, or that of the tensor that it fills or is like."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
