"""A PostgreSQL server of its own on loopback, started from the installed binaries by a user without rights."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import free_port

PASSWORD = "s3cret/word"  # the addresses have it percent-encoded


def _binaries() -> Path | None:
    """Debian does not put `initdb` on the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    return found[0] if found else None


class Postgres:
    """A running server; `database` makes an empty database and returns its address."""

    def __init__(self, port: int) -> None:
        self._port = port

    def address(self, name: str, password: str = PASSWORD) -> str:
        return f"postgresql://pinet:{password.replace('/', '%2F')}@127.0.0.1:{self._port}/{name}"

    def database(self, name: str) -> str:
        from sqlalchemy import NullPool, create_engine, text

        engine = create_engine(self.address("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self.address(name)


@contextmanager
def start_postgres() -> Iterator[Postgres]:
    """Skips the test where PostgreSQL is not installed, and fails it under PINET_NEEDS_POSTGRES."""
    binaries = _binaries()
    if binaries is None:
        assert "PINET_NEEDS_POSTGRES" not in os.environ, "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pinet_postgres_"))  # a test's folder is closed to other users
    (folder / "password").write_text(PASSWORD)
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}  # not as root
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, "nobody", "nogroup")
    data, port = str(folder / "data"), free_port()

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", data, *arguments]
        subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL, **user)

    try:
        call("initdb", "-U", "pinet", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync")
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield Postgres(port)
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
