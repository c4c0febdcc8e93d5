"""Cron expressions for APScheduler, with the meaning that they have in cron, Airflow and Kubernetes."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELD = re.compile(r"[0-9a-z*/,-]+", re.IGNORECASE)


def cron_trigger(expression: str, timezone: str) -> "CronTrigger":
    """The APScheduler trigger of a five-field cron expression; raises `ValueError` where cron would not accept it.

    APScheduler 3 counts weekdays from Monday = 0, cron from Sunday = 0, so weekdays are passed by name. APScheduler
    combines day of the month and day of the week with AND, cron with OR, so only one of them may be given.
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
    """The next n times of the expression; fewer if the calendar has no more."""
    trigger = cron_trigger(expression, timezone)
    times: list[datetime] = []
    for _ in range(n):
        now = times[-1] + timedelta(microseconds=1) if times else datetime.now(trigger.timezone)
        if (time := trigger.get_next_fire_time(None, now)) is None:
            break
        times.append(time)
    return times


def _by_name(field: str) -> str:
    """The names of the days in a day-of-week field: '1-5' gives 'mon,tue,wed,thu,fri'."""
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
        return int(day)  # 7 is also Sunday
    raise ValueError(f"'{day}' is no day of the week (0 to 7 or sun to sat)")
