"""Whether the installed MLflow can use the schema of a database."""

from functools import cache
from pathlib import Path

from pinet_kedro.tracking.config import WAY_OUT


def schema_fault(what: str, uri: str, tables: set[str], revision: str | None) -> str | None:
    """What is wrong with the schema of `what`, in a sentence; None where MLflow can use or create it.

    `tables` and `revision` (of MLflow's migrations, None: none) are what the database has; `uri` is its address.
    """
    import mlflow

    if not tables:
        return None
    if revision is None or "experiments" not in tables:  # Optuna calls the table of its revision like MLflow
        return f"{what} is of something else, not of MLflow. {WAY_OUT}."
    head, known = _revisions()
    if revision == head:
        return None
    if revision in known:
        way_out = f"It was written by an older one. Copy it, then: mlflow db upgrade {uri}"
    else:
        way_out = f"It was written by a newer one: install that. {WAY_OUT}, if you want neither"
    return f"{what} has the schema {revision}; MLflow {mlflow.__version__} needs {head}. {way_out}."


@cache
def _revisions() -> tuple[str | None, set[str]]:
    """The schema revision of the installed MLflow, and all those that it can migrate from."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return scripts.get_current_head(), {script.revision for script in scripts.walk_revisions()}
