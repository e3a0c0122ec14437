"""When a cron schedule is due, and the same schedule some minutes earlier or later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from models.errors import ConfigError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Name, least and greatest value, names of values (by place, from the least).
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
DAY_MIN = 1_440


@dataclass(frozen=True)
class Cron:
    """A parsed cron expression of five fields.

    Attributes:
        text: The expression, macros written out.
        minutes, hours, days, months: Values at which it is due.
        weekdays: Likewise, 0 is Sunday.
        day_or: Whether a day counts if its number or its weekday fits, where both are
            restricted; otherwise both must.
    """

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    day_or: bool = True

    def is_due_on(self, day: datetime) -> bool:
        """Whether it is due at all on this day of its own clock."""
        _, _, days, _, weekdays = self.text.split()
        is_day, is_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if day.month not in self.months:
            return False
        # A field that begins with a star restricts nothing (Vixie cron).
        if self.day_or and not days.startswith("*") and not weekdays.startswith("*"):
            return is_day or is_weekday
        return is_day and is_weekday

    @property
    def is_once_a_day(self) -> bool:
        """Whether it is due at one time of the day."""
        return len(self.minutes) == len(self.hours) == 1

    def shifted(self, minutes: int) -> str | None:
        """Return the expression that is due `minutes` later (earlier if negative).

        None: there is none. Only a single time of the day can be moved, and beyond midnight
        only where days are told by weekday alone.
        """
        if not self.is_once_a_day:
            return None
        at = min(self.hours) * 60 + min(self.minutes) + minutes
        over, rest = divmod(at, DAY_MIN)
        _, _, days, months, weekdays = self.text.split()
        if over and not (days == "*" and months == "*"):
            return None
        if over and weekdays != "*":
            weekdays = ",".join(str(d) for d in sorted((day + over) % 7 for day in self.weekdays))
        return f"{rest % 60} {rest // 60} {days} {months} {weekdays}"


def parse_cron(text: str, day_or: bool = True) -> Cron:
    """Parse five fields with stars, lists, ranges, steps and English names.

    Raises:
        ConfigError: Something else; says which field.
    """
    written = _MACROS.get(text.strip().lower(), text.strip())
    parts = written.split()
    if len(parts) != len(_FIELDS):
        raise ConfigError(
            f"cron '{text}' has {len(parts)} fields; five are read: minute, hour, day of month, "
            "month, day of week"
        )
    values = []
    for part, (name, least, greatest, names) in zip(parts, _FIELDS, strict=True):
        try:
            values.append(_values(part.lower(), least, greatest, names))
        except ValueError:
            raise ConfigError(
                f"cron '{text}': the {name} '{part}' is not read; write numbers from {least} to "
                f"{greatest}, *, lists (1,2), ranges (1-5) or steps (*/15)"
            ) from None
    minutes, hours, days, months, weekdays = values
    weekdays = frozenset(day % 7 for day in weekdays)
    return Cron(" ".join(parts), minutes, hours, days, months, weekdays, day_or)


def _values(part: str, least: int, greatest: int, names: list[str]) -> frozenset[int]:
    found: set[int] = set()
    for item in part.split(","):
        span, has_step, step_text = item.partition("/")
        step = int(step_text) if has_step else 1
        if span == "*":
            low, high = least, greatest
        else:
            first, is_range, last = span.partition("-")
            low = _value(first, least, names)
            high = _value(last, least, names) if is_range else (greatest if has_step else low)
        if not least <= low <= high <= greatest or step < 1:
            raise ValueError(item)
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _value(text: str, least: int, names: list[str]) -> int:
    return names.index(text) + least if text in names else int(text)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ConfigError: There is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"no time zone '{name}'; write one like UTC or Europe/Paris") from None


def due_times(
    cron: Cron, zone: ZoneInfo, from_s: int, until_s: int, shift_min: int = 0
) -> list[int]:
    """Return the instants at which a schedule is due, moved by some minutes of its clock.

    A time that the clock skips when it is put forward is taken as if it had not been.

    Args:
        cron: The schedule.
        zone: Zone of its clock.
        from_s: First instant, seconds since 1970.
        until_s: Instant after the last; both before the move, so that every move of a
            schedule has the same runs in the same order.
        shift_min: Minutes to move.
    """
    day = datetime.fromtimestamp(from_s, zone).replace(tzinfo=None) - timedelta(days=1)
    day = day.replace(hour=0, minute=0, second=0, microsecond=0)
    last = datetime.fromtimestamp(until_s, zone).replace(tzinfo=None)
    times = [(hour, minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    found = []
    while day <= last:
        if cron.is_due_on(day):
            for hour, minute in times:
                due = day + timedelta(hours=hour, minutes=minute)
                if from_s <= _instant(due, zone) < until_s:
                    found.append(_instant(due + timedelta(minutes=shift_min), zone))
        day += timedelta(days=1)
    return found


def _instant(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp())
