"""Typed configuration of the feedback report; free of pandas."""

from pydantic import Field

from pinet_kedro.configuration import LARGEST, Configuration


class Feedback(Configuration):
    """Which answers count, and what counts as taken."""

    hours: float = Field(24.0, gt=0, le=24 * 365, description="after an answer, for an interaction to count as its")
    days: float = Field(28.0, gt=0, le=3650, description="before the newest interaction; older answers do not count")
    users: int = Field(30, ge=1, le=LARGEST, description="with fewer, a rate is not measured")
