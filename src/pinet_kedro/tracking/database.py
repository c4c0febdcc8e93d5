"""A database server where MLflow records, tried before a run relies on it.

MLflow itself tries a server that does not answer for 100 s without a word, migrates an older schema without asking, and
breaks an empty database that two processes use for the first time.
"""

from contextlib import nullcontext
from functools import cache

from pinet_kedro.errors import InputError
from pinet_kedro.printable import public
from pinet_kedro.processes.database_lock import hold_in_database, is_postgres, open_database
from pinet_kedro.tracking.config import WAY_OUT
from pinet_kedro.tracking.schema import schema_fault
from pinet_kedro.tracking.server import cause

_CREATION_S = 120.0  # MLflow's migrations take 2 s, and longer over a slow network


def is_database(uri: str) -> bool:
    """Whether it is the address of a database server."""
    return uri.startswith(("postgresql", "mysql", "mssql"))


@cache  # once a process: MLflow keeps its connections
def check_server(uri: str) -> None:
    """Refuses a database that does not answer, or whose schema is not that of MLflow; makes the schema of an empty one.

    Raises `InputError`, which never has the password.
    """
    from mlflow import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        wrong, empty = _look(uri)
        if wrong or empty:  # what is wrong may be half of the schema that another process is making
            alone = hold_in_database(uri, "schema", _CREATION_S) if is_postgres(uri) else nullcontext()
            with alone:
                wrong, empty = _look(uri)
                if empty:
                    MlflowClient(uri)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise InputError(f"The database {public(uri)} cannot be used: {cause(error)}. {WAY_OUT}.") from error
    if wrong:
        raise InputError(wrong)


def _look(uri: str) -> tuple[str | None, bool]:
    """What is wrong with the schema, if anything, and whether there is none yet."""
    from sqlalchemy import inspect, text

    with open_database(uri) as connection:
        tables = set(inspect(connection).get_table_names())
        known = "alembic_version" in tables
        revision = connection.scalar(text("SELECT version_num FROM alembic_version")) if known else None
        return schema_fault(f"The database {public(uri)}", public(uri), tables, revision), not tables
