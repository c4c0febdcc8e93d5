"""The identity of a process, in a form that another process can check."""

import os
import socket
from pathlib import Path


def this_process() -> dict[str, str]:
    """`host`, `pid` and `started` of this process."""
    return {"host": _host(), "pid": str(os.getpid()), "started": _started(os.getpid())}


def is_gone(process: dict[str, str]) -> bool:
    """Whether a process of this host, as described by `this_process`, has ended.

    A new process with the same number does not count. False for a process of another host, which cannot be checked.
    """
    if process["host"] != _host():
        return False
    pid = int(process["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # the process of another user, so it is alive
    return _started(pid) != process["started"]


def _host() -> str:
    """The name of the host and, on Linux, of the process namespace: containers may share a host name and numbers."""
    space = Path("/proc/self/ns/pid")
    return socket.gethostname() + (f" {space.readlink()}" if space.is_symlink() else "")


def _started(pid: int) -> str:
    """Start of the process in clock ticks since the machine started; empty without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # after the command, which may contain spaces and brackets
