"""A lock of the project: one process at a time; a second one reports who holds it and since when."""

import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public
from pinet_kedro.project import project_folder

log = logging.getLogger(__name__)

_LOCKS = "data/locks"
_POLL_S = 0.05
_FIELDS = ("pid", "host", "command", "since")
_MOST_BYTES = 4096  # of the holder's description


class LockedError(InputError):
    """Another process holds the lock."""


_open: set[Any] = set()


def _release_in_child() -> None:
    """Closes the locks in a forked child, which would otherwise keep them after the parent was killed."""
    for file in _open:
        file.close()
    _open.clear()


os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def hold(
    name: str, wait_s: float = 0.0, advice: str = "Wait for it to end, or end it.", path: Path | None = None
) -> Iterator[None]:
    """Holds the lock of this name while the block runs; waits at most `wait_s` seconds for it.

    It is an operating-system lock on a file, by default the project's `data/locks/<name>.lock`. It ends with its
    process, even with `kill -9`, so a stale lock cannot block. The file describes the holder (`pid, host, command,
    since`). If it still describes a process that has ended, this is logged. Any old content is overwritten. Raises
    `LockedError`, which names the holder and ends with `advice`. (The package filelock does not fit: it empties the
    file.)
    """
    path = path or project_folder() / _LOCKS / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never deleted: a process that has opened the old file would lock a file that no other process can see.
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The lock {path} cannot be opened: {error.strerror}. Nothing can be written without it: make its folder "
            "writable, or remove what is in its place."
        ) from error
    with file:
        _acquire(file, path, name, wait_s, advice)
        _open.add(file)
        try:
            if left := _read(path):
                log.warning("The lock '%s' was left by %s, which ended without releasing it; this run takes it over.",
                            name, in_words(left))  # fmt: skip
            _write(file, json.dumps(describe_me()))
            yield
        finally:
            _open.discard(file)
            _write(file, "")


def _acquire(file: Any, path: Path, name: str, wait_s: float, advice: str) -> None:
    until = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                holder = _read(path)
                who = in_words(holder) if holder else "another process"
                raise LockedError(f"The lock '{name}' is held by {who}. {advice} ({path})") from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise InputError(
                f"The file system of {path} does not support locks ({error.strerror}), so two runs could write to "
                "data/ at the same time. Move the project to a file system with locks."
            ) from error


def describe_me() -> dict[str, Any]:
    """This process, for others: `pid, host, command, since`; the command without credentials of addresses."""
    command = public(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200], "since": since}


def _read(path: Path) -> dict[str, str]:
    """The description of the holder; empty if there is none yet, or if the file has any other content."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not found.keys() >= set(_FIELDS):
        return {}
    # Control characters must not reach a terminal.
    return {key: "".join(filter(str.isprintable, str(found[key])))[:200] for key in _FIELDS}


def in_words(holder: dict[str, str]) -> str:
    """What `describe_me` says, in words."""
    return f"process {holder['pid']} on {holder['host']} ({holder['command']}) since {holder['since']}"


def _write(file: Any, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()
