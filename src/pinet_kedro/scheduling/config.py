"""Typed configuration of the schedule; imports nothing that is slow."""

from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from pinet_kedro.configuration import Configuration, Seconds, Text
from pinet_kedro.scheduling.cron import next_times


class Schedule(Configuration):
    """What runs when: for `kedro schedule` and for the generated Airflow DAG alike."""

    pipeline: Text = "retraining"
    cron: Text = Field("0 3 * * *", description="minute hour day-of-month month day-of-week")
    timezone: Text = Field("UTC", description="name in the IANA database, such as Europe/Berlin")
    time_limit_hours: float | None = Field(
        12, gt=0, le=8760, description="a run that takes longer is stopped; null: none is"
    )
    stop_seconds: Seconds = Field(30, description="a run that is asked to stop and has not is killed after this")
    last_lines: int = Field(
        20, ge=0, le=100_000, description="of a failed run's output, repeated in the scheduler's log"
    )
    retries: int = Field(
        2, ge=0, le=1000, description="of Airflow, after a failure; `kedro schedule` waits for the next time"
    )
    retry_minutes: float = Field(10, gt=0, le=100_000, description="between them")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
            raise ValueError(f"'{name}' is no time zone; names are like UTC or Europe/Berlin") from error
        return name

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not next_times(self.cron, self.timezone, 1):
            raise ValueError(f"the time of '{self.cron}' never comes")
        return self

    def for_airflow(self) -> dict[str, Any]:
        """What `conf/airflow_dag.py.j2` is filled with."""
        return self.model_dump(include={"cron", "timezone", "time_limit_hours", "retries", "retry_minutes"})
