"""Typed configuration of the schedule; imports nothing that is slow."""

from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from pinet_kedro.configuration import Configuration, Seconds, Text
from pinet_kedro.scheduling.cron import next_times


class RunSchedule(Configuration):
    """What runs and when, for both `kedro schedule` and the generated Airflow DAG."""

    pipeline: Text = "retraining"
    cron: Text = Field("0 3 * * *", description="minute hour day-of-month month day-of-week")
    timezone: Text = Field("UTC", description="name in the IANA database, such as Europe/Berlin")
    time_limit_hours: float | None = Field(
        12, gt=0, le=8760, description="a run that takes longer is stopped; null: no limit"
    )
    stop_seconds: Seconds = Field(30, description="grace period of a run that is asked to stop; then it is killed")
    last_lines: int = Field(20, ge=0, le=100_000, description="of a failed run's output that the scheduler logs")
    retries: int = Field(
        2, ge=0, le=1000, description="by Airflow, after a failure; `kedro schedule` waits for the next time"
    )
    retry_minutes: float = Field(10, gt=0, le=100_000, description="between two tries")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: the name is a folder of zones
            raise ValueError(f"'{name}' is no time zone; names are like UTC or Europe/Berlin") from error
        return name

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not next_times(self.cron, self.timezone, 1):
            raise ValueError(f"'{self.cron}' matches no date")
        return self

    def for_airflow(self) -> dict[str, Any]:
        """The values for the template `conf/airflow_dag.py.j2`."""
        return self.model_dump(include={"cron", "timezone", "time_limit_hours", "retries", "retry_minutes"})
