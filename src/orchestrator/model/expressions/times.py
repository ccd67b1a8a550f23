"""Filters over times: RFC 3339 texts in UTC, or seconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.model.durations import parse_duration
from orchestrator.model.expressions.arguments import DIGITS_MAX, shown, text_of
from orchestrator.model.expressions.runtime import Failure, Frame, is_number

_MICROSECOND = timedelta(microseconds=1)


def _time(value: Any, what: str) -> datetime:
    if is_number(value) and abs(value) < 1e11:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=value)
    text = text_of(value, what)
    try:
        if len(text) > DIGITS_MAX:
            raise ValueError
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Failure(
            f"{what} can't read {shown(value)} as a time; write it as 2026-11-22T16:00:00Z"
        ) from None


def _written(moment: datetime) -> str:
    written = moment.strftime("%Y-%m-%dT%H:%M:%S") if moment.year >= 1000 else moment.isoformat()[:19]
    fraction = f".{moment.microsecond:06d}" if moment.microsecond else ""
    return f"{written}{fraction}Z"


def timestamp(frame: Frame, value: Any) -> Any:
    """Seconds since 1970 of a time."""
    return ((_time(value, "`timestamp`") - datetime.fromtimestamp(0, UTC)) // _MICROSECOND) / 1_000_000


def to_time(frame: Frame, value: Any) -> str:
    """A time in UTC, of seconds since 1970 or of a text."""
    return _written(_time(value, "`datetime`"))


def add_time(frame: Frame, value: Any, duration: Any) -> str:
    """The time later by a duration such as `"1d"` (a negative number of seconds: earlier)."""
    negative = is_number(duration) and duration < 0
    try:
        seconds = parse_duration(-duration if negative else duration)
        return _written(_time(value, "`add_time`") + timedelta(seconds=-seconds if negative else seconds))
    except (ValueError, OverflowError) as error:
        raise Failure(f"`add_time`: {error}") from None


def date(frame: Frame, value: Any) -> str:
    """The day of a time in UTC, as 2026-11-22."""
    return _written(_time(value, "`date`"))[:10]
