"""Typed configuration of batch inference; free of mlflow and torch, which take seconds to import."""

from pydantic import Field

from pinet_kedro.configuration import Configuration, Count, Threads, Version


class BatchInference(Configuration):
    """Which version recommends how much to all users."""

    version: Version = Field("champion", description="an alias or a version's number")
    k: Count = Field(10, description="items a user")
    block_users: int = Field(64, ge=1, le=1_000_000, description="users scored at a time: what fits a cache is fastest")
    threads: Threads | None = Field(1, description="torch threads; null: torch decides")
