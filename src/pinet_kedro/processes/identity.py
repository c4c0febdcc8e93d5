"""Which process is at work, in words that another one can check."""

import os
import socket
from pathlib import Path


def this_process() -> dict[str, str]:
    """`host`, `pid` and `started` of this process."""
    return {"host": _host(), "pid": str(os.getpid()), "started": _started(os.getpid())}


def is_gone(process: dict[str, str]) -> bool:
    """Whether a process of this host, as `this_process` described it, has ended.

    A number that is used again is no sign of life. False for a process of another host, of which nothing is known here.
    """
    if process["host"] != _host():
        return False
    pid = int(process["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's, so alive
    return _started(pid) != process["started"]


def _host() -> str:
    """Containers may share a host's name and each count processes from 1: on Linux the count has a name as well."""
    space = Path("/proc/self/ns/pid")
    return socket.gethostname() + (f" {space.readlink()}" if space.is_symlink() else "")


def _started(pid: int) -> str:
    """When the process was started, in clock ticks since the machine was; empty where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # after the command, which may hold spaces and brackets
