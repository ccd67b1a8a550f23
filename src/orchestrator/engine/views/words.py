"""How times, durations and lists read in a sentence."""

from collections.abc import Sequence
from datetime import UTC, datetime

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
NAMES_SHOWN_MAX = 3


def duration(us: int) -> str:
    """A length of time, as exact as one cares for: `176 ms`, `4.2 s`, `37 min`, `2 h 5 min`, `3 days`."""
    us = max(us, 0)
    if us < 1_000:
        return f"{us} µs"
    if us < SECOND_US:
        return f"{round(us / 1_000)} ms"
    if us < 9.95 * SECOND_US:
        return f"{us / SECOND_US:.1f}".removesuffix(".0") + " s"
    if us < 119.5 * SECOND_US:
        return f"{round(us / SECOND_US)} s"
    if us < 119.5 * MINUTE_US:
        return f"{round(us / MINUTE_US)} min"
    if us < 48 * HOUR_US:
        hours, minutes = divmod(round(us / MINUTE_US), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(us / DAY_US)} days"


def moment(at_us: int, *, now_us: int) -> str:
    """A time in UTC: of today only the time, of this minute with seconds, else with the date."""
    at = datetime.fromtimestamp(at_us / SECOND_US, UTC)
    now = datetime.fromtimestamp(now_us / SECOND_US, UTC)
    clock = at.strftime("%H:%M:%S" if abs(at_us - now_us) < 5 * MINUTE_US else "%H:%M")
    return f"{clock} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d} {clock} UTC"


def names(items: Sequence[str], *, total: int | None = None) -> str:
    """Names in backquotes: "`a`", "`a` and `b`", "`a`, `b`, `c` and 4 others"."""
    count = len(items) if total is None else total
    shown = [f"`{item}`" for item in items[:NAMES_SHOWN_MAX]]
    others = count - len(shown)
    if others > 0:
        return ", ".join(shown) + f" and {others:,} {'other' if others == 1 else 'others'}"
    if len(shown) > 1:
        return ", ".join(shown[:-1]) + " and " + shown[-1]
    return "".join(shown)


def shortened(text: str, *, characters: int = 200) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


BUDGETS = {"tasks": "tasks", "duration": "time", "tokens": "tokens", "cost_usd": "money"}
"""What a run has budgets of."""


def budget(name: str, amount: int | float) -> str:
    """An amount of a budget."""
    if name == "duration":
        return duration(int(amount))
    if name == "cost_usd":
        return f"${amount:,.2f}" if amount >= 1 else f"${amount:.6g}"
    return f"{amount:,} {name}"
