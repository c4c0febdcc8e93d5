"""The users that a version was made for, as hashes of their ids.

A version may be shared more widely than the log. The hashes show whether a known id is among its users; ids cannot be
read from them, although short ids can be guessed one by one.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

USERS = "users"  # folder of a version
_FILE = "hashes.npy"
_BYTES = 8  # among a million users, two have the same hash with a probability of 3e-8


def hash_users(ids: Iterable[str]) -> Shaped[np.ndarray, " U"]:
    """The sorted hashes of these ids (uint64), the first 8 bytes of BLAKE2b."""
    found = b"".join(hashlib.blake2b(str(id_).encode(), digest_size=_BYTES).digest() for id_ in ids)
    return np.unique(np.frombuffer(found, "<u8"))


def save_users(hashes: Shaped[np.ndarray, " U"], folder: Path) -> None:
    """Writes them to a file in the folder, 8 bytes a user."""
    np.save(folder / _FILE, hashes, allow_pickle=False)


def read_users(folder: Path) -> Shaped[np.ndarray, " U"] | None:
    """The hashes in the folder; None if there are none, as in versions of earlier releases."""
    path = folder / _FILE
    return np.load(path, allow_pickle=False) if path.exists() else None


def share_known(users: Shaped[np.ndarray, " U"] | None, among: Shaped[np.ndarray, " V"] | None) -> float | None:
    """The share of the users that are among the others; None if one of the two is not known."""
    return None if users is None or among is None or len(users) == 0 else float(np.isin(users, among).mean())
