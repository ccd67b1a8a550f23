"""Names of keys, and which partition a run is in. The layout is described in `lua/common.lua`."""

import zlib
from collections.abc import Mapping

import msgspec

from orchestrator.errors import UsageError

PARTITIONS = 16
PARTITIONS_MAX = 128
"""A feed's cursor holds a position for each."""
PREFIX = "ao"
FORMAT = 1
ACCOUNTS_SLOT = "acc"
FLOWS_SLOT = "flows"
STORE_SLOT = "store"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says: the driver's part of it, what may be shown of it, and ours."""

    driver_url: str
    shown: str
    prefix: str
    partitions: int | None


def parse_url(url: str) -> Place:
    """Take a URL apart: `redis://[user:password@]host:port/database?prefix=ao&partitions=16`.

    Raises:
        UsageError: a part of ours can't be meant.
    """
    head, _, query = url.partition("?")
    ours: dict[str, str] = {}
    rest: list[str] = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if name in ("prefix", "partitions"):
            ours[name] = value
        else:
            rest.append(part)
    scheme, _, place = head.partition("://")
    shown = f"{scheme}://{place.rpartition('@')[2]}"
    prefix = ours.get("prefix", PREFIX)
    if not prefix or set(prefix) & set("{}:* ?[]"):
        raise UsageError(f"the store's prefix {prefix!r} must be a word; keys begin with it")
    return Place(
        driver_url=head + (f"?{'&'.join(rest)}" if rest else ""),
        shown=shown if prefix == PREFIX else f"{shown}?prefix={prefix}",
        prefix=prefix,
        partitions=_partitions(ours),
    )


def _partitions(ours: Mapping[str, str]) -> int | None:
    text = ours.get("partitions")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= PARTITIONS_MAX:
        raise UsageError(f"partitions={text}: a store has 1 to {PARTITIONS_MAX} partitions")
    return int(text)


def partition_of(run_id: str, partitions: int) -> int:
    """The partition that a run lives in, for ever."""
    return zlib.crc32(run_id.encode()) % partitions
