"""Who holds a lock on a file."""

import os
from pathlib import Path


def by_whom(path: Path) -> str:
    """Who holds a lock on a file, where the kernel lists it, such as ' by process 12 (kedro run)'; else empty."""
    try:
        inode = path.stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]
        others = {int(lock[4]) for lock in locks if "->" not in lock} - {os.getpid()}
        holders = [f"{pid} ({_command(pid)})" for pid in sorted(others) if pid > 0]
    except (OSError, ValueError, IndexError):
        return ""
    return f" by process {', '.join(holders)}" if holders else ""


def _command(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")).strip()[:120]
