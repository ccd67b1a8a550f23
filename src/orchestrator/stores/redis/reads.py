"""Reading single runs, and erasing what they hold."""

from collections.abc import Sequence
from typing import Any

import msgspec

from orchestrator.stores.contract import Blob, Leftover, LoadedRun, RunIndex, RunRow
from orchestrator.stores.redis.commits import known_to_lists
from orchestrator.stores.redis.keys import partition_of
from orchestrator.stores.redis.link import Arg, Call, Link
from orchestrator.stores.rules import check_rewrite, search_text

_encode = msgspec.msgpack.Encoder().encode
_index = msgspec.msgpack.Decoder(RunIndex).decode
_head = msgspec.msgpack.Decoder(list[Any]).decode


class Reads:
    """See the module."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def _place(self, run_id: str) -> tuple[int, str]:
        partition = partition_of(run_id, self._link.partitions)
        return partition, f"p{partition}"

    async def load(self, run_id: str, after: int | None) -> LoadedRun | None:
        """What is needed to go on with a run."""
        partition, slot = self._place(run_id)
        known = "" if after is None else max(after, 0)
        found = await self._link.ask(Call("load", slot, [partition, run_id, known]))
        if found is None:
            return None
        seq, held, namespace = _head(found[0])[:3]
        snapshot_seq = int(found[3])
        return LoadedRun(
            run_id=run_id,
            namespace=namespace,
            seq=seq,
            held=bool(held),
            index=_index(found[1]),
            summary=found[2],
            snapshot_seq=snapshot_seq,
            snapshot=found[4] if snapshot_seq else None,
            events=found[5:],
        )

    async def get_run(self, run_id: str) -> RunRow | None:
        """The run's line."""
        return (await self.get_runs([run_id]))[0]

    async def get_runs(self, run_ids: Sequence[str]) -> list[RunRow | None]:
        """The lines of runs."""
        commands: list[tuple[Arg, ...]] = []
        for run_id in run_ids:
            _, slot = self._place(run_id)
            commands.append(("HMGET", self._link.key(slot, f"r:{run_id}"), "h", "i", "s"))
        found = await self._link.commands(commands)
        return [_row(run_id, fields) for run_id, fields in zip(run_ids, found, strict=True)]

    async def read_journal(self, run_id: str, after: int, limit: int) -> list[bytes]:
        """Events with seq > after."""
        _, slot = self._place(run_id)
        after = max(after, 0)
        return await self._link.command(
            "LRANGE", self._link.key(slot, f"j:{run_id}"), after, after + limit - 1
        )

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        """A blob of the run."""
        _, slot = self._place(run_id)
        key = self._link.key(slot, f"b:{run_id}")
        codec, data = await self._link.command("HMGET", key, f"c{blob_id}", f"d{blob_id}")
        if data is None:
            return None
        return Blob(blob_id=blob_id, codec=(codec or b"").decode(), data=data)

    async def rewrite(
        self, run_id: str, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None
    ) -> bool:
        """Other bytes in the place of events."""
        partition, slot = self._place(run_id)
        about: list[Any] = [False, False, False]
        more: list[Arg] = []
        if rest is not None:
            about = [True, rest.snapshot is not None, known_to_lists(rest.index)]
            index = rest.index
            more = [rest.snapshot or b"", rest.summary, _encode(index), search_text(run_id, index)]
        args: list[Arg] = [partition, run_id, expected, after, len(events), _encode(about), *events, *more]
        became = await self._link.ask(Call("rewrite", slot, args))
        if became == b"range":
            check_rewrite(after, len(events), expected)
        return became == b"ok"

    # --- cached outputs -----------------------------------------------------------------------------------------------

    def _cache_place(self, key: str, namespace: str) -> tuple[str, str]:
        _, slot = self._place(key)
        return slot, self._link.key(slot, f"cache:{namespace}\0{key}")

    async def get_cached(self, key: str, namespace: str) -> bytes | None:
        """What was put under the key."""
        slot, name = self._cache_place(key, namespace)
        return await self._link.ask(Call("get_cached", slot, [name]))

    async def put_cached(self, key: str, value: bytes, ttl_us: int, namespace: str) -> None:
        """Keep the value for a time."""
        slot, name = self._cache_place(key, namespace)
        await self._link.ask(Call("put_cached", slot, [name, value, ttl_us]))


def _row(run_id: str, fields: Sequence[bytes | None]) -> RunRow | None:
    head, index, summary = fields
    if head is None or index is None:
        return None
    seq, _, namespace = _head(head)[:3]
    return RunRow(run_id=run_id, namespace=namespace, seq=seq, index=_index(index), summary=summary or b"")
