"""Typed configuration of `kedro serve`; free of mlflow and torch, which take seconds to import."""

from pydantic import Field

from pinet_kedro.configuration import Configuration, Count, Processes, Seconds, Text, Threads, Version


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
    connections: int = Field(
        256, ge=1, le=1_000_000, description="open at once in one worker; more are answered with 503"
    )


class Serving(Configuration):
    """Where the model answers, and which."""

    version: Version = Field("champion", description="an alias, which is followed when it moves, or a version's number")
    host: Text = "127.0.0.1"
    port: int = Field(5001, ge=0, le=65535, description="0: any free one")
    workers: Processes = Field(1, description="processes that answer; a core each")
    threads: Threads = Field(1, description="torch threads of a worker")
    watch_seconds: Seconds = Field(5.0, description="between looks at where the alias points")
    start_seconds: Seconds = Field(120.0, description="a worker that is not ready by then has failed")
    stop_seconds: Seconds = Field(15.0, description="for the requests at work when a worker stops")
    limits: Limits = Limits()
