"""Typed configuration of a refresh; free of torch and mlflow."""

from pydantic import Field

from pinet_kedro.configuration import Configuration


class Refresh(Configuration):
    """How a refreshed version is judged."""

    held_out: float = Field(
        0.5, gt=0, lt=1, description="share of the events newer than the champion has learnt that judge the refresh"
    )
