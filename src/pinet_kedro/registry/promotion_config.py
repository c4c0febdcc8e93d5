"""Typed configuration of promotion; free of torch and mlflow, so that the command line can read it at no cost."""

from typing import Literal

from pydantic import Field

from pinet_kedro.configuration import LARGEST, Configuration, Seconds, Text


class Bound(Configuration):
    """A relative gain passes when the end of its 95 % interval that `by` names lies above `above`."""

    above: float = Field(ge=-1, le=100)
    by: Literal["low", "mean", "high"]


class Gates(Configuration):
    """What a challenger must show against the champion.

    A gain of tail users has to be shown. The head and the quintiles are guarded against a loss, and the smaller the
    group the milder the proof: low ends of all of them at once would refuse nearly every challenger on small data.
    """

    tail: Bound = Bound(above=0.0, by="low")
    head: Bound = Bound(above=-0.01, by="mean")
    quintiles: Bound = Field(Bound(above=-0.02, by="high"), description="each of them")
    coverage: float = Field(0.1, ge=0, le=1, description="least share of the catalogue in anyone's first ten")
    latency_ms: float = Field(
        50.0, gt=0, le=1e6, description="most milliseconds for a single request on one core, median"
    )


class FreshProcess(Configuration):
    """The process in which a version is loaded as a server would load it."""

    requests: int = Field(50, ge=1, le=100_000, description="timed single requests")
    timeout_s: Seconds = Field(120.0, description="for loading and all requests")


class Promotion(Configuration):
    """Which version is judged, and by what."""

    version: int | None = Field(None, ge=1, le=LARGEST, description="null: the version with the alias `challenger`")
    force: Text | None = Field(None, description="a reason: promotes whatever the gates say")
    gates: Gates = Gates()
    fresh_process: FreshProcess = FreshProcess()
