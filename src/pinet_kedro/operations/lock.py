"""One process at a time on one project; the others are told who it is and since when."""

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
from pinet_kedro.operations.project import project_folder

log = logging.getLogger(__name__)

_LOCKS = "data/locks"
_POLL_S = 0.05


class LockedError(InputError):
    """Another process is at the same work."""


@contextmanager
def hold(name: str, wait_s: float = 0.0) -> Iterator[None]:
    """Holds the project's lock of this name while the block runs; waits at most `wait_s` seconds for it.

    It is a lock of the operating system on `data/locks/<name>.lock`, which ends with its process, `kill -9` included:
    a stale one cannot block. The file says who holds it (`pid, host, command, since`); what an ended process left there
    is logged and overwritten. Raises `LockedError`, which names the holder. (Not filelock's: that empties the file.)
    """
    path = project_folder() / _LOCKS / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never unlinked: whoever had opened the old file would hold a lock on nothing.
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file, path, name, wait_s)
        if left := _read(path):
            log.warning("The lock '%s' was left by %s, which ended without releasing it; it is taken over.",
                        name, _who(left))  # fmt: skip
        _write(file, json.dumps(_me()))
        try:
            yield
        finally:
            _write(file, "")


def _acquire(file: Any, path: Path, name: str, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                holder = _read(path)
                who = _who(holder) if holder else "another process"
                raise LockedError(
                    f"'{name}' is at work already, by {who}. Wait for it to end, or end it (lock: {path})."
                ) from None
            time.sleep(_POLL_S)


def _me() -> dict[str, Any]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200], "since": since}


def _read(path: Path) -> dict[str, Any]:
    """The holder; empty where nobody has signed, or is just signing."""
    try:
        return json.loads(path.read_text(encoding="utf-8") or "{}")
    except ValueError:
        return {}


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']} ({holder['command']}) since {holder['since']}"


def _write(file: Any, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()
