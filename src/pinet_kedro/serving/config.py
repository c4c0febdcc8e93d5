"""Typed configuration of `kedro serve`; free of mlflow and torch, which take seconds to import."""

import re

from pydantic import Field, field_validator

from pinet_kedro.configuration import Configuration, Count, Processes, Seconds, Text, Threads, Version

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS = ("", "0.0.0.0", "::")


class Limits(Configuration):
    """What one request may ask for; more is refused with a 4xx status before the model sees it."""

    body_bytes: Count = 1_000_000
    rows: Count = Field(100, description="users a request")
    history: Count = Field(1000, description="items in a history")
    exclude: Count = Field(1000, description="items in an exclude list")
    k: Count = Field(100, description="items asked for")
    id_length: Count = Field(256, description="characters of an id")
    seconds: int = Field(
        10, ge=1, le=86_400, description="for one request, waiting included; then it is answered with 504"
    )
    head_seconds: Seconds = Field(10.0, description="from the connection to the end of the request's head")
    body_seconds: Seconds = Field(10.0, description="from there to the end of the body")
    idle_seconds: Seconds = Field(75.0, description="between requests, and for a client to take its answer")
    connections: int = Field(
        256, ge=1, le=1_000_000, description="of a worker that wait for their clients: a new one closes the longest "
        "waiting; as many requests may be at work: more are answered with 503",
    )  # fmt: skip


class Serving(Configuration):
    """Where the model answers, and which."""

    version: Version = Field("champion", description="an alias, which is followed when it moves, or a version's number")
    host: Text = "127.0.0.1"
    hosts: tuple[str, ...] = Field(
        LOOPBACK, description="names that requests may have as Host, besides serving.host; '*': any"
    )
    port: int = Field(5001, ge=0, le=65535, description="0: any free one")
    workers: Processes = Field(1, description="processes that answer; a core each")
    threads: Threads = Field(1, description="torch threads of a worker")
    watch_seconds: Seconds = Field(5.0, description="between looks at where the alias points")
    start_seconds: Seconds = Field(120.0, description="a worker that is not ready by then has failed")
    stop_seconds: Seconds = Field(15.0, description="for the requests at work when a worker stops")
    limits: Limits = Limits()

    @field_validator("hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host != "*" and not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9_.-]+", host):
                raise ValueError(
                    f"'{host}' is no host: give a name or an address without scheme and port, IPv6 in brackets"
                )
        return tuple(host.lower() for host in hosts)

    def allowed_hosts(self) -> list[str]:
        """Every name that a request may have as Host."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return [*self.hosts, *([] if self.host in EVERY_ADDRESS else [own.lower()])]

    def reaches_only_itself(self) -> bool:
        """Whether it answers on every address, and yet under names of this machine's loopback alone."""
        return self.host in EVERY_ADDRESS and set(self.hosts) <= set(LOOPBACK)
