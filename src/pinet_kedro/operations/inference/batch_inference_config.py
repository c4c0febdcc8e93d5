"""Typed configuration of batch inference; free of mlflow and torch, which take seconds to import."""

from pydantic import Field

from pinet_kedro.configuration import Configuration


class BatchInference(Configuration):
    """Which version recommends how much to all users."""

    version: str = Field("champion", description="an alias or a version's number")
    k: int = Field(10, ge=1, description="items a user")
    block_users: int = Field(64, ge=1, description="users scored at a time: what fits a cache is fastest")
    threads: int | None = Field(1, ge=1, description="torch threads; null: torch decides")
