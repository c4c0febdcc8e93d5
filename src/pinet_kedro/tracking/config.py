"""Typed configuration of tracking and registry; free of mlflow, which takes seconds to import."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from pinet_kedro.configuration import Configuration, Name, Text

# MLflow has stores for these; a database may name its driver, such as postgresql+psycopg.
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks", "databricks-uc", "uc")
# The end of a sentence on a database that cannot be used.
WAY_OUT = "Name another one as tracking.uri (conf/base/parameters_registration.yml)"


def _openable(uri: str) -> str:
    scheme = re.match(r"([a-z-]+)(\+\w+)?(://|$)", uri)
    if not scheme or scheme[1] not in _SCHEMES or (not scheme[3] and not scheme[1].startswith(("databricks", "uc"))):
        raise ValueError(
            "MLflow has no store of this kind; an address is like sqlite:///mlflow.db, postgresql://host/database "
            "or https://host:port"
        )
    if scheme[1] in ("http", "https") and not re.match(r"https?://[^/:?#\s]+", uri):
        raise ValueError("the address names no host; one is like https://host:port")
    return uri


class Tracking(Configuration):
    """Where runs and model versions are kept."""

    uri: Annotated[Text, AfterValidator(_openable)] = "sqlite:///mlflow.db"
    artifacts: Text | None = Field(None, description="folder or bucket of a new experiment's files; null: see conf")
    experiment: Annotated[Text, Field(max_length=500)] = "pinet"
    model: Annotated[Name, Field(max_length=250)] = "pinet"
