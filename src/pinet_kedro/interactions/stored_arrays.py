"""Dataclasses of arrays in a folder, one `.npy` file a field."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

_Kind = TypeVar("_Kind")


def store_arrays(part: Any, folder: Path) -> None:
    """Writes the fields of an instance into an existing folder; a single value is an array without axes."""
    for f in fields(part):
        np.save(folder / f"{f.name}.npy", getattr(part, f.name), allow_pickle=False)


def mapped_arrays(kind: type[_Kind], folder: Path) -> _Kind:
    """The instance that `store_arrays` wrote, with memory-mapped arrays."""
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    return kind(**{name: array if array.ndim else array.item() for name, array in arrays.items()})
