"""Lengths of time as people write them: `30`, `1.5`, `"30s"`, `"5m"`, `"1h30m"`, `"2d"`, `"PT5M"`."""

import math
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.model.limits import DURATION_SECONDS_MAX

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"
_PART = re.compile(rf"({_NUMBER})\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_ISO = re.compile(
    rf"P(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=\d)(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.ASCII,
)
_ISO_SECONDS = (604800.0, 86400.0, 3600.0, 60.0, 1.0)

FORMS = 'a number of seconds, or a text such as "30s", "5m", "2h", "1d" or "PT5M"'


def parse_duration(value: object) -> float:
    """The seconds that a written length of time means: zero or more, at most a hundred years.

    Raises:
        ValueError: it is none of the accepted forms; the message lists them.
    """
    seconds: float | None = None
    if isinstance(value, bool):
        seconds = None
    elif isinstance(value, int | float):
        seconds = float(value) if abs(value) < 1e15 else math.inf
    elif isinstance(value, str):
        seconds = _parse_text(value.strip())
    if seconds is None:
        raise ValueError(f"a duration is {FORMS}")
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a duration is zero or more and finite: {FORMS}")
    if seconds > DURATION_SECONDS_MAX:
        raise ValueError(f"a duration is at most {DURATION_SECONDS_MAX:.0f} seconds (a hundred years)")
    return seconds


def _parse_text(text: str) -> float | None:
    if not text or len(text) > 100:
        return None
    if re.fullmatch(_NUMBER, text, re.ASCII):
        return float(text)
    if text[0] == "P":
        match = _ISO.fullmatch(text)
        if match is None or not any(match.groups()):
            return None
        return sum(
            float(part) * unit for part, unit in zip(match.groups(), _ISO_SECONDS, strict=True) if part
        )
    total, at = 0.0, 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            return None
        total += float(match[1]) * _UNIT_SECONDS[match[2]]
        at = match.end()
    return total


def to_microseconds(seconds: float) -> int:
    """Whole microseconds, rounded to the nearest."""
    return round(seconds * 1_000_000)


def _positive(value: object) -> float:
    seconds = parse_duration(value)
    if to_microseconds(seconds) < 1:
        raise ValueError(f"this duration is more than zero: {FORMS}")
    return seconds


def _field(read: Callable[[object], float]) -> tuple[BeforeValidator, WithJsonSchema]:
    schema = {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "examples": ["30s", "5m", "2h", "1d"]},
        ],
        "description": f"A length of time: {FORMS}.",
    }
    return BeforeValidator(read), WithJsonSchema(schema)


Duration = Annotated[float, *_field(parse_duration)]
"""A field that holds seconds and reads every accepted form."""

PositiveDuration = Annotated[float, *_field(_positive)]
"""The same, for what would make no sense at zero."""
