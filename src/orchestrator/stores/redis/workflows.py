"""Workflows and their versions: all in one slot, since they are few and seldom change."""

from collections.abc import Sequence

import msgspec

from orchestrator.errors import Conflict
from orchestrator.stores.contract import Page, WorkflowRow, WorkflowVersion
from orchestrator.stores.redis.keys import FLOWS_SLOT
from orchestrator.stores.redis.link import Call, Link
from orchestrator.stores.rules import pack_cursor, unpack_cursor

NAMES_AT_ONCE = 500

_encode = msgspec.msgpack.Encoder().encode


class Workflows:
    """See the module."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def save(
        self, name: str, *, meaning: str, text: bytes, record: bytes, namespace: str
    ) -> tuple[WorkflowVersion, bool]:
        """Save a version, or find the one with the same meaning."""
        call = Call("save_version", FLOWS_SLOT, [namespace, name, meaning, text, record])
        version, new, created, saved, kept = await self._link.ask(call)
        saved_version = WorkflowVersion(
            namespace=namespace,
            name=name,
            version=int(version),
            meaning=meaning,
            created_us=int(created),
            saved_us=int(saved),
            text=text,
            record=kept,
        )
        return saved_version, bool(new)

    async def versions(
        self, name: str, which: str, *, namespace: str, deleted: bool = False
    ) -> list[WorkflowVersion]:
        """`current`, `all`, or a number."""
        call = Call("get_versions", FLOWS_SLOT, [namespace, name, which, "1" if deleted else "0"])
        found: Sequence[bytes] = await self._link.ask(call)
        return [
            WorkflowVersion(
                namespace=namespace,
                name=name,
                version=int(found[at]),
                meaning=found[at + 1].decode(),
                created_us=int(found[at + 2]),
                saved_us=int(found[at + 3]),
                text=found[at + 4],
                record=found[at + 5],
            )
            for at in range(0, len(found), 6)
        ]

    async def rows(self, namespace: str, text: str, limit: int, cursor: str | None) -> Page[WorkflowRow]:
        """Workflows by name."""
        after = None if cursor is None else str(unpack_cursor("workflows", cursor, str)[0])
        key = self._link.key(FLOWS_SLOT, f"names:{namespace}")
        names: list[str] = []
        wanted = text.casefold()
        while len(names) <= limit:
            start = "-" if after is None else f"({after}"
            some = await self._link.command("ZRANGE", key, start, "+", "BYLEX", "LIMIT", 0, NAMES_AT_ONCE)
            if not some:
                break
            found = [name.decode() for name in some]
            after = found[-1]
            names += [name for name in found if wanted in name.casefold()]
        more = pack_cursor("workflows", names[limit - 1]) if len(names) > limit else None
        call = Call("flow_rows", FLOWS_SLOT, [namespace, _encode(names[:limit])])
        found_rows: Sequence[bytes] = await self._link.ask(call)
        rows = [
            WorkflowRow(
                namespace=namespace,
                name=found_rows[at].decode(),
                current=int(found_rows[at + 1]),
                versions=int(found_rows[at + 2]),
                created_us=int(found_rows[at + 3]),
                saved_us=int(found_rows[at + 4]),
                record=found_rows[at + 5],
            )
            for at in range(0, len(found_rows), 6)
        ]
        return Page(items=rows, cursor=more)

    async def delete(self, name: str, *, namespace: str) -> bool:
        """Hide a workflow without live runs."""
        if not await self.versions(name, "current", namespace=namespace):
            return False
        counts = await self._link.commands(
            [
                ("HGET", self._link.key(f"p{partition}", f"live:{namespace}"), name)
                for partition in range(self._link.partitions)
            ]
        )
        live = sum(int(count or 0) for count in counts)
        if live:
            raise Conflict(
                f"workflow {name!r} has {live} live {'run' if live == 1 else 'runs'}; "
                "cancel them or let them end first",
                reason="workflow_has_live_runs",
            )
        return bool(await self._link.ask(Call("delete_flow", FLOWS_SLOT, [namespace, name])))
