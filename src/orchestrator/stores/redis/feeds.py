"""Feeds over runs: each partition has one, in the order of its commits; a cursor holds a position in each.

A partition's feed names runs and seqs, the events are read from the journals. Partitions take turns, and the cursor
holds whose turn it is, so that a busy one doesn't hide the rest and a repeat reads in the same order.
"""

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.stores.contract import FeedItem
from orchestrator.stores.redis.keys import partition_of
from orchestrator.stores.redis.link import Call, Link
from orchestrator.stores.rules import cursor_int, pack_cursor, unpack_cursor

_Position = tuple[int, int]
"""Entries of a partition's feed that were shown whole, and events of the next one."""


class Feeds:
    """See the module."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(
        self, cursor: str | None, limit: int, run_id: str | None, workflow: str | None, namespace: str
    ) -> tuple[list[FeedItem], str]:
        """See the contract."""
        positions, turn = self._unpack(cursor) if cursor is not None else (None, 0)
        wanted = list(range(self._link.partitions))
        lengths = await self._link.commands(
            [("LLEN", self._link.key(f"p{partition}", "feed")) for partition in wanted]
        )
        if positions is None:
            return [], self._pack([(length, 0) for length in lengths], 0)
        # A server that lost its newest writes has a shorter feed than the cursor knows.
        positions = [
            position if position[0] <= length else (length, 0)
            for position, length in zip(positions, lengths, strict=True)
        ]
        order = wanted[turn:] + wanted[:turn]
        if run_id is not None:
            order = [partition_of(run_id, self._link.partitions)]
        items: list[FeedItem] = []
        for partition in order:
            while positions[partition][0] < lengths[partition] and len(items) < limit:
                items += await self._read_one(
                    partition, positions, limit - len(items), run_id, workflow, namespace
                )
                turn = partition
        if len(items) == limit:
            turn = (turn + 1) % len(wanted)
        return items, self._pack(positions, turn)

    async def _read_one(
        self,
        partition: int,
        positions: list[_Position],
        limit: int,
        run_id: str | None,
        workflow: str | None,
        namespace: str,
    ) -> list[FeedItem]:
        entry, shown = positions[partition]
        args = [partition, entry, shown, limit, run_id or "", workflow or "", namespace]
        entry, shown, found = await self._link.ask(Call("feed", f"p{partition}", args))
        items: list[FeedItem] = []
        for at in range(0, len(found), 5):
            owner, flow, next_entry, next_shown, event = found[at : at + 5]
            positions[partition] = (next_entry, next_shown)
            items.append(
                FeedItem(
                    run_id=owner.decode(),
                    workflow=flow.decode(),
                    cursor=self._pack(positions, partition),
                    event=event,
                )
            )
        positions[partition] = (entry, shown)
        return items

    def _pack(self, positions: Sequence[_Position], turn: int) -> str:
        text = " ".join(f"{entry}.{shown}" if shown else str(entry) for entry, shown in positions)
        return pack_cursor("feed", self._link.store_id, text, turn)

    def _unpack(self, cursor: str) -> tuple[list[_Position], int]:
        store_id, text, turn = unpack_cursor("feed", cursor, str, str, int)
        try:
            parts = [part.partition(".") for part in str(text).split(" ")]
            positions = [(int(entry), int(shown or 0)) for entry, _, shown in parts]
        except ValueError:
            positions = []
        if store_id != self._link.store_id or len(positions) != self._link.partitions:
            raise UsageError(f"the cursor {cursor[:80]!r} is of another store; start again without a cursor")
        return positions, cursor_int(turn) % len(positions)
