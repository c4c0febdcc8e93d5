"""A lock in a PostgreSQL database, for processes of several machines that use it; otherwise as `processes.lock`.

Its connection, of any database server, gives up soon.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pinet_kedro.printable import public
from pinet_kedro.processes.lock import LockedError, describe_me, in_words

if TYPE_CHECKING:
    from sqlalchemy import Connection

_POLL_S = 0.1
_KEY = 0x70696E65_00000000  # the upper half of a key is ours ("pine"): other programs may lock in the same database
_NUMBERS = {"schema": 1, "aliases": 2, "tuning": 3}  # the lower half of each lock's key; older releases share them
_CONNECT_S = 10
# A machine that has lost its power or its network frees the lock a minute later (PostgreSQL's default: two hours).
_SESSION = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
_HOLDER = """\
SELECT application_name, backend_start FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32) | objid::bigint = :key"""


def is_postgres(uri: str) -> bool:
    """Whether the database is PostgreSQL, where machines can share a lock."""
    return uri.startswith("postgresql")


def open_database(uri: str, **options: Any) -> "Connection":
    """A connection of its own to a database server; raises SQLAlchemy's errors where that does not answer."""
    from sqlalchemy import NullPool, create_engine, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ValueError as error:  # a port that is no number
        raise ArgumentError(str(error)) from error
    limit = {} if url.get_backend_name() == "mssql" else {"connect_timeout": _CONNECT_S}
    return create_engine(url, poolclass=NullPool, connect_args=limit, **options).connect()


@contextmanager
def hold_in_database(uri: str, name: str, wait_s: float) -> Iterator[None]:
    """Holds the advisory lock of this name (`_NUMBERS`) while the block runs; waits at most `wait_s` seconds.

    The lock belongs to a connection of its own, and the server frees it when this process ends, however that happens.
    A pooler must keep sessions (pgbouncer: `pool_mode = session`). Raises `LockedError`, which names the holder.
    """
    from sqlalchemy import text

    key, until = {"key": _KEY | _NUMBERS[name]}, time.monotonic() + wait_s
    with open_database(uri, isolation_level="AUTOCOMMIT") as connection:
        settings = {**_SESSION, "application_name": f"{os.getpid()} {socket.gethostname()} {describe_me()['command']}"}
        for setting, value in settings.items():
            connection.execute(text("SELECT set_config(:setting, :value, false)"), {"setting": setting, "value": value})
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
            if time.monotonic() >= until:
                found = connection.execute(text(_HOLDER), key).first()
                raise LockedError(
                    f"The lock '{name}' is held by {_who(found)}. Wait for it to end, or end it. ({public(uri)})"
                )
            time.sleep(_POLL_S)
        yield


def _who(found: Any) -> str:
    """The holder in words, from the name that `hold_in_database` has given its session (63 bytes are kept)."""
    if found is None or found.application_name.count(" ") < 2:
        return "another process"
    pid, host, command = found.application_name.split(" ", 2)
    since = found.backend_start.isoformat(timespec="seconds")
    return in_words({"pid": pid, "host": host, "command": command, "since": since})
