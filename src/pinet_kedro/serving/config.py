"""Typed configuration of `kedro serve` and batch inference; free of mlflow and torch, which take seconds to import."""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pinet_kedro.configuration import LARGEST, Configuration, Count, Processes, Seconds, Text, Threads, Version

Share = Annotated[float, Field(gt=0, lt=1)]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS = ("", "0.0.0.0", "::")


class Limits(Configuration):
    """Limits of one request. A request beyond them is refused with a 4xx status before the model sees it."""

    body_bytes: Count = 1_000_000
    rows: Count = Field(100, description="users a request")
    history: Count = Field(1000, description="items in a history")
    exclude: Count = Field(1000, description="items in an exclude list")
    only: Count = Field(10_000, description="items in an allow-list (only)")
    categories: Count = Field(100, description="names in a list of categories; also the largest min_categories")
    explained: Count = Field(10, description="users of a request with explain")
    k: Count = Field(100, description="items asked for")
    id_length: Count = Field(256, description="characters of an id")
    seconds: int = Field(
        10, ge=1, le=86_400, description="to answer a request, waiting included; then the status is 504"
    )
    head_seconds: Seconds = Field(10.0, description="from the start of a connection to the end of the request's head")
    body_seconds: Seconds = Field(10.0, description="from the end of the head to the end of the body")
    idle_seconds: Seconds = Field(75.0, description="between two requests, and for a client to read its response")
    connections: int = Field(
        256, ge=1, le=1_000_000, description="connections of a worker that wait for their clients; one more closes the "
        "longest waiting. Also the number of requests that may be active; one more gets the status 503",
    )  # fmt: skip


class AnswerLog(Configuration):
    """Which answers are kept for `kedro run --pipeline=feedback`, and how much of the disk they may take."""

    enabled: bool = Field(False, description="whether answers to requests with a user_id are logged")
    folder: Text = "data/09_feedback"
    bytes: int = Field(50_000_000, ge=100_000, le=LARGEST, description="most bytes of a file; then the next one begins")
    files: int = Field(20, ge=2, le=10_000, description="most files in the folder; the oldest are removed")


class Serving(Configuration):
    """Which version is served, or which two side by side, and where."""

    version: Version = Field("champion", description="a version's number, or an alias, which is followed when it moves")
    split: dict[Version, Share] | None = Field(
        None, description="two aliases or numbers with their shares of the users, instead of serving.version"
    )
    salt: Text = Field("1", description="another value assigns the users to the two versions anew")
    host: Text = "127.0.0.1"
    hosts: tuple[str, ...] = Field(LOOPBACK, description="allowed Host headers besides serving.host; '*': any")
    port: int = Field(5001, ge=0, le=65535, description="0: any free port")
    workers: Processes = Field(1, description="number of processes that answer, each on one core")
    threads: Threads = Field(1, description="torch threads of a worker")
    watch_seconds: Seconds = Field(5.0, description="between two checks of the alias")
    start_seconds: Seconds = Field(120.0, description="for a worker to become ready; after that it has failed")
    stop_seconds: Seconds = Field(15.0, description="to finish active requests when a worker stops")
    limits: Limits = Limits()
    log: AnswerLog = AnswerLog()

    @field_validator("split")
    @classmethod
    def _two_shares(cls, split: dict[str, float] | None) -> dict[str, float] | None:
        if split is not None and (len(split) != 2 or abs(sum(split.values()) - 1) > 1e-9):
            raise ValueError(
                f"{len(split)} versions whose shares sum to {sum(split.values()):g}; must be two with the sum 1, such "
                "as {champion: 0.9, challenger: 0.1}, or null"
            )
        return split

    @model_validator(mode="after")
    def _files_for_all_workers(self) -> "Serving":
        # While a version is replaced there are twice as many workers, each with a file of its own.
        if self.log.enabled and self.log.files <= 2 * self.workers:
            raise ValueError(
                f"log.files = {self.log.files} is too few for workers = {self.workers}: must be more than twice as many"
            )
        return self

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host != "*" and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9_.-]+", host):
                raise ValueError(
                    f"'{host}' is no host: give a name or an address without scheme and port, IPv6 in brackets"
                )
        return tuple(host.lower() for host in hosts)

    def arms(self) -> dict[str, float]:
        """Share of the users by alias or number; all of them where there is one version."""
        return self.split or {self.version: 1.0}

    def allowed_hosts(self) -> list[str]:
        """All allowed Host headers."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return [*self.hosts, *([] if self.host in EVERY_ADDRESS else [own.lower()])]

    def reaches_only_itself(self) -> bool:
        """Whether it listens on every address but allows only the names of this machine's loopback."""
        return self.host in EVERY_ADDRESS and set(self.hosts) <= set(LOOPBACK)


class BatchInference(Configuration):
    """Which version recommends to all users, and how much."""

    version: Version = Field("champion", description="an alias or a version's number")
    k: Count = Field(10, description="items per user")
    missing_users: float = Field(
        0.01, ge=0, le=1, description="largest share of the version's users that may be missing from the data"
    )
    block_users: int = Field(
        64, ge=1, le=1_000_000, description="users scored at a time; fastest where they fit into the cache"
    )
    explain: bool = Field(False, description="whether the summands of each score are written, too")
    threads: Threads | None = Field(1, description="torch threads; null: torch decides")
