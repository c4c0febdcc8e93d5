from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from pinet_kedro.scheduling.config import RunSchedule
from pinet_kedro.scheduling.cron import cron_trigger, next_times

MONDAY = datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))


def weekdays(field):
    """Days on which it fires in the week from a Monday, 0 being Monday."""
    trigger = cron_trigger(f"0 3 * * {field}", "UTC")
    days, now = [], MONDAY
    while (now := trigger.get_next_fire_time(None, now)) < MONDAY.replace(day=8):
        days.append(now.weekday())
        now = now.replace(minute=1)
    return days


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", [6]), ("7", [6]), ("1", [0]), ("sun", [6]), ("1-5", [0, 1, 2, 3, 4]), ("5-7", [4, 5, 6]),
        ("fri-mon", [0, 4, 5, 6]), ("*/2", [1, 3, 5, 6]), ("0,3", [2, 6]), ("*", [0, 1, 2, 3, 4, 5, 6]),
    ],
)  # fmt: skip
def test_days_of_the_week_are_those_of_cron(field, days):
    assert weekdays(field) == days


def test_times_are_those_of_the_zone():
    time = next_times("30 4 * * *", "Asia/Kolkata", 1)[0]
    assert (time.hour, time.minute) == (4, 30)
    assert time.utcoffset().total_seconds() == 5.5 * 3600


@pytest.mark.parametrize(
    "wrong",
    [
        {"cron": "0 3 * *"}, {"cron": "61 3 * * *"}, {"cron": "0 3 1 * 1"}, {"cron": "0 3 * * 8"}, {"cron": "@daily"},
        {"cron": "0 3 last * *"}, {"cron": "0 3 30 2 *"}, {"timezone": "Mars/Olympus"}, {"timezone": "Europe"},
        {"crom": "0 3 * * *"},
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_kept_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong.values())).split("/")[0].replace("*", r"\*")):
        RunSchedule(**wrong)
