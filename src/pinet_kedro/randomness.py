"""Random numbers from the caller's generator, even in libraries that do not accept a generator."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Functions of torch that draw random numbers and are usually called without a `generator`.
_DRAW = {torch.rand, torch.randn, torch.randint, torch.randperm, torch.rand_like, torch.randn_like}


class Generators(dict[str, torch.Generator]):
    """Seeded generators by device type: the CPU, which draws initial weights, and the device of the training.

    A training on the CPU has a single generator.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        devices = {"cpu": torch.device("cpu"), self.device.type: self.device}
        super().__init__({kind: torch.Generator(where).manual_seed(seed) for kind, where in devices.items()})

    @property
    def of_device(self) -> torch.Generator:
        """The generator of the training's device."""
        return self[self.device.type]


class DrawsFrom(TorchFunctionMode):
    """Inside the block, torch functions of this thread draw from these generators instead of torch's own.

    Module initialisation and torchjd's aggregators draw from the global generator, which all threads share: with a
    global seed, results would change as soon as two nodes run in parallel. A torch function mode belongs to one
    thread, so no lock is needed, and the numbers equal those of a global generator with the same seed. It costs one
    Python call per torch function, so use it for initialisation and aggregators, not for whole training steps.
    """

    def __init__(self, generators: Mapping[str, torch.Generator]) -> None:
        super().__init__()
        self._generators = generators

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Functions of `torch.nn.init` pass a generator even if it is None.
        if (func in _DRAW or "generator" in kwargs) and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self._generators[_device(args, kwargs).type]}
        return func(*args, **kwargs)


def _device(args: Any, kwargs: Any) -> torch.device:
    """The device on which a function draws: its argument `device`, or the device of its first tensor."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
