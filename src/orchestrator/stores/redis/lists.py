"""Lists of runs over all partitions.

Each partition keeps its runs by (`created_us`, run id) in several lists: all of a namespace, by status, workflow,
label, parent, and the live ones. A filter walks the shortest list that it fits and looks at each run there for the
rest, free text included. One call looks at a bounded number, so a page may be short: it ends where the first partition
that had more stopped looking, and the cursor goes on from there.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from orchestrator.stores.contract import Page, RunFilter, RunRow
from orchestrator.stores.redis.link import Call, Link
from orchestrator.stores.redis.reads import Reads
from orchestrator.stores.rules import cursor_int, pack_cursor, unpack_cursor

LOOKED_AT = 2_000
"""How many runs one call looks at, in all partitions together."""
LOOKED_AT_MIN = 25

_Key = tuple[int, str]
_encode = msgspec.msgpack.Encoder().encode


async def list_runs(
    link: Link, reads: Reads, where: RunFilter, limit: int, cursor: str | None
) -> Page[RunRow]:
    """One page; see the contract."""
    before: _Key | None = None
    if cursor is not None:
        created, run_id = unpack_cursor("runs", cursor, int, str)
        before = (cursor_int(created), str(run_id))
    names = _lists_for(where)
    name = names[0] if len(names) == 1 else await _shortest(link, where.namespace, names)
    wanted = _args(link, where, name, plain=len(names) == 1, limit=limit, before=before)
    calls = [Call("list", f"p{partition}", [partition, *wanted]) for partition in range(link.partitions)]
    found: list[_Key] = []
    frontier: _Key | None = None
    for answer in await link.ask_all(calls):
        pairs = answer[0]
        found += [(int(pairs[at + 1]), pairs[at].decode()) for at in range(0, len(pairs), 2)]
        if len(answer) > 1:
            stopped = (int(answer[1][0]), answer[1][1].decode())
            frontier = stopped if frontier is None else max(frontier, stopped)
    # Beyond the frontier a partition that stopped may have runs that belong in between.
    found = sorted((key for key in found if frontier is None or key >= frontier), reverse=True)
    page = found[:limit]
    last = page[-1] if len(found) > limit else frontier
    rows = await reads.get_runs([run_id for _, run_id in page])
    more = None if last is None else pack_cursor("runs", last[0], last[1])
    return Page(items=[row for row in rows if row is not None], cursor=more)


def _lists_for(where: RunFilter) -> list[str]:
    """The lists that hold every run of the filter. One alone with no other condition says everything."""
    names = [f"L{key}\0{value}" for key, value in where.labels.items()]
    if where.parent_run is not None:
        names.append(f"p{where.parent_run}")
    if where.workflow is not None:
        names.append(f"w{where.workflow}")
    if where.live:
        names.append("l")
    if len(where.statuses) == 1:
        names.append(f"s{where.statuses[0]}")
    return names or ["a"]


async def _shortest(link: Link, namespace: str, names: Sequence[str]) -> str:
    commands = [
        ("ZCARD", link.key(f"p{partition}", f"x:{namespace}\0{name}"))
        for name in names
        for partition in range(link.partitions)
    ]
    counts = await link.commands(commands)
    step = link.partitions
    sizes = [sum(counts[at * step : (at + 1) * step]) for at in range(len(names))]
    return names[sizes.index(min(sizes))]


def _args(
    link: Link, where: RunFilter, name: str, *, plain: bool, limit: int, before: _Key | None
) -> list[Any]:
    """What `list.lua` gets besides the partition."""
    plain = plain and not where.text and len(where.statuses) <= 1 and where.live is not False
    plain = plain and (name != "a" or not where.statuses)
    labels = [text for pair in where.labels.items() for text in pair]
    wanted = (
        list(where.statuses),
        where.workflow if where.workflow is not None else False,
        0 if where.live is None else 1 if where.live else 2,
        where.parent_run if where.parent_run is not None else False,
        labels,
        where.created_after_us if where.created_after_us is not None else False,
        where.created_before_us if where.created_before_us is not None else False,
        where.text.casefold(),
        plain,
    )
    budget = max(LOOKED_AT // link.partitions, LOOKED_AT_MIN, limit if plain else 0)
    created, run_id = ("", "") if before is None else before
    return [f"{where.namespace}\0{name}", _encode(wanted), limit, budget, created, run_id]
