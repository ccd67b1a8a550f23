"""The few rules that every back end follows word for word, so that no two of them can drift apart.

Checks of what is handed over, the text that searches look in, opaque cursors, and a clock for stores that live on
the machine of their worker.
"""

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.errors import UsageError
from orchestrator.stores.contract import Commit, Limit, RunIndex

CACHE_KEY_MAX = 200
"""The longest key of a cached output."""

LIMITS_MAX = 8
"""The most limits that one task may be under."""

PAGE_LIMIT_MAX = 10_000
"""The most items that one page, journal slice or claim may ask for."""


def check_batch(batch: Sequence[Commit]) -> None:
    """Refuse a batch that can't be meant, before anything of it happens.

    Raises:
        UsageError: an empty id, a creation without index row or events, events without an expected version.
    """
    for commit in batch:
        expected = commit.expected
        if not commit.commit_id or not commit.run_id or not commit.namespace:
            raise UsageError(
                f"a commit needs a commit id, a run id and a namespace; got {commit.commit_id!r}, {commit.run_id!r}, "
                f"{commit.namespace!r}"
            )
        if expected is None:
            if commit.events:
                raise UsageError(
                    f"commit {commit.commit_id!r} adds events and must say after which seq (`expected`)"
                )
        elif expected == 0:
            if commit.index is None or not commit.events:
                raise UsageError(
                    f"commit {commit.commit_id!r} creates run {commit.run_id!r}: "
                    "it needs an index row and its first event"
                )
        elif expected < 0:
            raise UsageError(f"commit {commit.commit_id!r} expects seq {expected}; seqs start at 1")


def check_rewrite(after: int, count: int, seq: int) -> None:
    """Refuse to rewrite events that aren't there.

    Raises:
        UsageError: the range isn't within the run's events.
    """
    if not 0 <= after <= after + count <= seq:
        raise UsageError(f"{count} events after seq {after} can't be rewritten: the run has {seq}")


def check_cached(key: str, ttl_us: int) -> None:
    """Refuse what can't be kept under a key.

    Raises:
        UsageError: the key is empty or too long, or the time is negative.
    """
    if not 0 < len(key) <= CACHE_KEY_MAX or ttl_us < 0:
        raise UsageError(
            f"a cached output needs a key of 1 to {CACHE_KEY_MAX} characters and a time of 0 or more; "
            f"got {len(key)} characters and {ttl_us} microseconds"
        )


def check_limit(limit: int) -> int:
    """How many items to give: at least one, at most `PAGE_LIMIT_MAX`.

    Raises:
        UsageError: the limit isn't positive.
    """
    if limit < 1:
        raise UsageError(f"a limit of {limit} asks for nothing; it must be at least 1")
    return min(limit, PAGE_LIMIT_MAX)


def search_text(run_id: str, index: RunIndex) -> str:
    """What `RunFilter.text` is looked for in, with case taken out."""
    labels = [f"{key}={value}" for key, value in index.labels.items()]
    return "\n".join([run_id, index.workflow, *labels, index.error]).casefold()


def pack_cursor(kind: str, *parts: int | str) -> str:
    """An opaque cursor: it says what it is for, and nobody needs to escape it."""
    return base64.urlsafe_b64encode(msgspec.json.encode([kind, *parts])).rstrip(b"=").decode("ascii")


def unpack_cursor(kind: str, cursor: str, *types: type[int] | type[str]) -> list[int | str]:
    """The parts of a cursor that `pack_cursor` made for the same kind.

    Raises:
        UsageError: it is damaged, or belongs to another list or another store.
    """
    try:
        raw = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        found = msgspec.json.decode(raw, type=list[int | str])
    except (ValueError, UnicodeError, binascii.Error, msgspec.DecodeError):
        found = []
    parts = found[1:]
    fits = len(found) == len(types) + 1 and all(
        type(part) is kind_ for part, kind_ in zip(parts, types, strict=True)
    )
    if not fits or found[0] != kind:
        raise UsageError(f"the cursor {cursor[:80]!r} wasn't made by this list; start again without a cursor")
    return parts


def cursor_int(part: int | str) -> int:
    """A part of a cursor that `unpack_cursor` has already found to be a number."""
    assert isinstance(part, int)
    return part


def machine_clock() -> Callable[[], int]:
    """The wall clock as it stood at this call, plus the time that has passed since; in microseconds.

    Setting the machine's clock doesn't move it, so no lease ends early by that; sleep of the machine counts where the
    system can tell (Linux).
    """
    source = getattr(time, "CLOCK_BOOTTIME", None)

    def elapsed_ns() -> int:
        return time.monotonic_ns() if source is None else time.clock_gettime_ns(source)

    base = time.time_ns() - elapsed_ns()
    return lambda: (base + elapsed_ns()) // 1000


@dataclass(slots=True)
class Bucket:
    """A token bucket of `rate` tokens that fills up in `per_us`, and the line before it.

    `full_us` is when it will be full again, so that an old bucket is the same as none; `line_us` when the next who
    comes may have its turn, behind all that wait already.
    """

    full_us: int = 0
    line_us: int = 0
    rate: int = 1
    per_us: int = 1_000_000

    @property
    def interval_us(self) -> int:
        """The time in which one token comes."""
        return max(1, self.per_us // self.rate)

    def earliest(self) -> int:
        """When the next token is there."""
        return self.full_us - (self.per_us - self.interval_us)

    def turn(self, now: int, *, others: bool) -> int:
        """When somebody who comes now may take a token: now, or (then that turn is given away) later."""
        turn = max(self.earliest(), self.line_us if others else 0, now)
        if turn > now:
            self.line_us = turn + self.interval_us
        return turn

    def take(self, now: int) -> None:
        """Take a token."""
        self.full_us = max(self.full_us, now) + self.interval_us


NOTE_RUNS_SHOWN = 3


def slot_note(limit: Limit, runs: Sequence[str]) -> str:
    """What a task waits for that found no slot."""
    shown = sorted(set(runs))
    more = f" and {len(shown) - NOTE_RUNS_SHOWN} more" if len(shown) > NOTE_RUNS_SHOWN else ""
    used = min(len(runs), limit.concurrency or 0)
    by = f" by {', '.join(shown[:NOTE_RUNS_SHOWN])}{more}" if shown else ""
    return f"slot of `{limit.name}`: {used} of {limit.concurrency} in use{by}"


def rate_note(limit: Limit) -> str:
    """What a task waits for whose turn hasn't come."""
    return f"rate of `{limit.name}`: {limit.rate} in {limit.per_us / 1_000_000:g} s"


def check_limits(limits: Sequence[Limit]) -> None:
    """Refuse limits that can't be meant.

    Raises:
        UsageError: too many, one account twice, or numbers below one.
    """
    if not 0 < len(limits) <= LIMITS_MAX or len({limit.account for limit in limits}) < len(limits):
        raise UsageError(f"a task has 1 to {LIMITS_MAX} limits on different accounts, not {len(limits)}")
    for limit in limits:
        number = limit.rate if limit.concurrency is None else limit.concurrency
        if not limit.account or number is None or number < 1 or limit.per_us < 1:
            raise UsageError(f"limit {limit.account!r} lets nothing through; its numbers are at least 1")
