"""Cron expressions as cron itself, Airflow and Kubernetes read them, for APScheduler."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELD = re.compile(r"[0-9a-z*/,-]+", re.IGNORECASE)


def cron_trigger(expression: str, timezone: str) -> "CronTrigger":
    """The trigger of a five-field cron expression in a time zone; raises ValueError for one that cron does not know.

    APScheduler 3 counts the days of the week from Monday = 0 and cron from Sunday = 0, so they are handed over by name.
    It joins a day of the month and a day of the week with AND and cron with OR, so that only one may be given.
    """
    from apscheduler.triggers.cron import CronTrigger

    fields = expression.split()
    if len(fields) != 5 or not all(_FIELD.fullmatch(field) for field in fields):
        raise ValueError(f"'{expression}' is no cron expression: minute hour day-of-month month day-of-week, "
                         "such as '0 3 * * *' for 3 o'clock every day")  # fmt: skip
    minute, hour, day, month, weekday = fields
    if "*" not in (day, weekday):
        raise ValueError(f"'{expression}' gives a day of the month and a day of the week; give one of them and * for "
                         "the other")  # fmt: skip
    if re.search("[a-z]", minute + hour + day, re.IGNORECASE):
        raise ValueError(f"'{expression}' is no cron expression: minutes, hours and days of the month are numbers")
    try:
        return CronTrigger(
            minute=minute, hour=hour, day=day, month=month, day_of_week=_by_name(weekday), timezone=timezone
        )
    except ValueError as error:
        raise ValueError(f"'{expression}' is no cron expression: {error}") from error


def next_times(expression: str, timezone: str, n: int) -> list[datetime]:
    """The next n times of the expression; fewer where the calendar has no more."""
    trigger = cron_trigger(expression, timezone)
    times: list[datetime] = []
    for _ in range(n):
        now = times[-1] + timedelta(microseconds=1) if times else datetime.now(trigger.timezone)
        if (time := trigger.get_next_fire_time(None, now)) is None:
            break
        times.append(time)
    return times


def _by_name(field: str) -> str:
    """Names of the days that a day-of-week field means, `1-5` being mon,tue,wed,thu,fri."""
    if field == "*":
        return field
    chosen = set()
    for part in field.lower().split(","):
        days, _, step = part.partition("/")
        first, _, last = ("0", "-", "6") if days == "*" else days.partition("-")
        start = _number(first)
        end = _number(last) if last else (6 if step else start)
        chosen |= {day % 7 for day in range(start, end + 7 * (end < start) + 1, int(step or 1))}
    return ",".join(_DAYS[day] for day in sorted(chosen))


def _number(day: str) -> int:
    if day in _DAYS:
        return _DAYS.index(day)
    if day in "01234567" and len(day) == 1:
        return int(day)  # 7 is Sunday as well
    raise ValueError(f"'{day}' is no day of the week (0 to 7 or sun to sat)")
