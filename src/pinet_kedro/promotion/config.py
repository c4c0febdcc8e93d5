"""Typed configuration of promotion; free of torch and mlflow, which take seconds to import."""

from typing import Literal

from pydantic import Field

from pinet_kedro.configuration import LARGEST, Configuration, Count, Seconds, Text


class Bound(Configuration):
    """A relative gain passes if it is above `above`: its mean, or the end of its 95 % interval that `by` names.

    With fewer than `users` users it is not measured.
    """

    above: float = Field(ge=-1, le=100)
    by: Literal["low", "mean", "high"]
    users: Count


class Gates(Configuration):
    """What a challenger must show against the champion.

    Tail users must gain. Head users and quintiles must not lose; smaller groups get milder conditions, because
    requiring the low end of every interval would refuse nearly every challenger on small data.
    """

    tail: Bound = Bound(above=0.0, by="low", users=100)
    head: Bound = Bound(above=-0.01, by="mean", users=30)
    quintiles: Bound = Field(Bound(above=-0.02, by="high", users=30), description="for each quintile")
    unmeasured: Literal["refuse", "pass"] = Field(
        "refuse",
        description="what a gate that is not measured, for lack of users or of a record, does to the version; one that "
        "could not be compared at all is refused",
    )
    shared_items: float = Field(
        0.5, ge=0, le=1, description="least share of the champion's catalogue that the challenger knows"
    )
    shared_users: float = Field(
        0.5, ge=0, le=1, description="least share of the champion's users that the challenger knows"
    )
    data: float = Field(
        0.5,
        ge=0,
        le=1,
        description="least number of users, items and events behind the challenger, as a share of the champion's",
    )
    coverage: float = Field(0.1, ge=0, le=1, description="least share of the catalogue that is in any user's first ten")
    latency_ms: float = Field(
        50.0, gt=0, le=1e6, description="most milliseconds for a single request on one core (median)"
    )


class FreshProcess(Configuration):
    """The fresh process that loads a version as a server would."""

    requests: int = Field(50, ge=1, le=100_000, description="number of single requests to time")
    timeout_s: Seconds = Field(120.0, description="for loading and all requests")


class Promotion(Configuration):
    """Which version is judged, and by which gates."""

    version: int | None = Field(None, ge=1, le=LARGEST, description="null: the version with the alias `challenger`")
    force: Text | None = Field(None, description="a reason: promotes regardless of the gates")
    gates: Gates = Gates()
    fresh_process: FreshProcess = FreshProcess()
