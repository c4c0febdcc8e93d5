"""One process at a time on one project; another one reads who is at work and since when."""

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
from pinet_kedro.project import project_folder

log = logging.getLogger(__name__)

_LOCKS = "data/locks"
_POLL_S = 0.05
_SIGNED = ("pid", "host", "command", "since")
_MOST_BYTES = 4096  # of what a holder has signed with


class LockedError(InputError):
    """Another process is at the same work."""


_open: set[Any] = set()


def _let_go() -> None:
    """A forked child shares its parent's locks, and would hold them on when the parent has been killed."""
    for file in _open:
        file.close()
    _open.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def hold(name: str, wait_s: float = 0.0, advice: str = "Wait for it to end, or end it.") -> Iterator[None]:
    """Holds the project's lock of this name while the block runs; waits at most `wait_s` seconds for it.

    It is a lock of the operating system on `data/locks/<name>.lock`, which ends with its process, `kill -9` included:
    a stale one cannot block. The file says who holds it (`pid, host, command, since`); what an ended process left there
    is logged and overwritten, whatever else stands there is overwritten. Raises `LockedError`, which names the holder
    and ends with `advice`. (Not filelock's: that empties the file.)
    """
    path = project_folder() / _LOCKS / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never unlinked: whoever had opened the old file would hold a lock on nothing.
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The lock {path}, without which nothing is written, cannot be opened: {error.strerror}. Make its folder "
            "writable, or remove what is in its place."
        ) from error
    with file:
        _acquire(file, path, name, wait_s, advice)
        _open.add(file)
        try:
            if left := _read(path):
                log.warning("The lock '%s' was left by %s, which ended without releasing it; it is taken over.",
                            name, _who(left))  # fmt: skip
            _write(file, json.dumps(_me()))
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
                who = _who(holder) if holder else "another process"
                raise LockedError(f"The lock '{name}' of this project is held by {who}. {advice} ({path})") from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise InputError(
                f"The file system of {path} knows no locks ({error.strerror}), and without one two runs could write to "
                "data/ at once. Put the project on one that does."
            ) from error


def _me() -> dict[str, Any]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200], "since": since}


def _read(path: Path) -> dict[str, str]:
    """The holder; empty where nobody has signed, is just signing, or somebody else has written to the file."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not found.keys() >= set(_SIGNED):
        return {}
    # What is shown on a terminal holds no control characters.
    return {key: "".join(filter(str.isprintable, str(found[key])))[:200] for key in _SIGNED}


def _who(holder: dict[str, str]) -> str:
    return f"process {holder['pid']} on {holder['host']} ({holder['command']}) since {holder['since']}"


def _write(file: Any, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()
