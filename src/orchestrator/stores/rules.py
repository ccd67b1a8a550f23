"""The few rules that every back end follows word for word, so that no two of them can drift apart.

Checks of what is handed over, the text that searches look in, opaque cursors, and a clock for stores that live on
the machine of their worker.
"""

import base64
import binascii
import time
from collections.abc import Callable, Sequence

import msgspec

from orchestrator.errors import UsageError
from orchestrator.stores.contract import Commit, RunIndex

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
