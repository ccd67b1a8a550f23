"""Claims, leases and workers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.errors import StoreUnavailable
from orchestrator.stores.contract import (
    Claim,
    ClaimAnswer,
    Granted,
    HeartbeatAnswer,
    QueueRow,
    QueueWake,
    TaskKind,
    Wake,
    WorkerRow,
)
from orchestrator.stores.redis.accounts import Accounts
from orchestrator.stores.redis.keys import partition_of
from orchestrator.stores.redis.link import Call, Link

_encode = msgspec.msgpack.Encoder().encode
_names = msgspec.msgpack.Decoder(list[str]).decode
_Claimed = tuple[str, str, str, TaskKind, str, int, int, int, int, int, bool]
_claimed = msgspec.msgpack.Decoder(tuple[int, int, list[_Claimed]]).decode
_Shown = tuple[str, TaskKind, str, int, int, int, str | bool, int, int | bool, int, str]
_shown = msgspec.msgpack.Decoder(tuple[int, list[_Shown]]).decode


class Queue:
    """See the module."""

    def __init__(self, link: Link, accounts: Accounts, told: Callable[[list[Wake]], None]) -> None:
        self._link = link
        self._accounts = accounts
        self._told = told
        self._turn = 0

    async def claim(self, worker: str, queues: Sequence[str], limit: int) -> ClaimAnswer:
        """Lease due rows. One server chooses among all partitions; those of a cluster are asked in turns."""
        names = _encode(sorted(set(queues)))
        groups = self._link.groups()
        if len(groups) == 1:
            return _claim_answer(await self._link.ask(self._claim_call(worker, limit, names, groups[0])))
        self._turn += 1
        turn = self._turn % len(groups)
        waiting = groups[turn:] + groups[:turn]
        claims: list[Claim] = []
        now_us, next_due_us = 0, None
        # Every partition gives its share, then those that had more give the rest.
        while waiting and len(claims) < limit:
            left = limit - len(claims)
            asked, share = waiting[:left], max(1, left // len(waiting))
            answers = [
                _claim_answer(reply)
                for reply in await self._link.ask_all(
                    [self._claim_call(worker, share, names, group) for group in asked]
                )
            ]
            for answer in answers:
                claims += answer.claims
                now_us = max(now_us, answer.now_us)
                if answer.next_due_us is not None:
                    next_due_us = min(next_due_us or answer.next_due_us, answer.next_due_us)
            more = [
                group for group, answer in zip(asked, answers, strict=True) if len(answer.claims) == share
            ]
            waiting = waiting[len(asked) :] + more
        claims.sort(key=lambda claim: (-claim.priority, claim.due_us))
        return ClaimAnswer(claims=claims, now_us=now_us, next_due_us=next_due_us)

    def _claim_call(self, worker: str, limit: int, names: bytes, group: Sequence[int]) -> Call:
        return Call("claim", f"p{group[0]}", [worker, limit, names, _encode(group)])

    async def release(self, worker: str, leases: Sequence[Granted], delay_us: int, note: str) -> None:
        """Give leases back."""
        by_slot: dict[int, list[Any]] = {}
        for lease in leases:
            partition = partition_of(lease.run_id, self._link.partitions)
            rows = by_slot.setdefault(partition if self._link.clustered else 0, [])
            rows += (partition, lease.run_id, lease.path, lease.epoch)
        calls = [
            Call("release", f"p{slot}", [worker, delay_us, note, _encode(rows)])
            for slot, rows in by_slot.items()
        ]
        for woken, ended in await self._link.ask_all(calls):
            self.wake(_names(woken))
            await self._accounts.ended(ended)

    def heartbeat_calls(self, worker: str, lease_us: int, info: bytes) -> list[Call]:
        """To register a worker everywhere."""
        return [
            Call("heartbeat", f"p{group[0]}", [worker, lease_us, info, _encode(group)])
            for group in self._link.groups()
        ]

    async def forget(self, worker: str, *, lost: bool) -> list[str]:
        """End a registration; of an empty name, all whose time has come."""
        calls = [
            Call("forget", f"p{group[0]}", [worker, "1" if lost else "0", _encode(group)])
            for group in self._link.groups()
        ]
        names: set[str] = set()
        for found, woken, ended in await self._link.ask_all(calls):
            names.update(_names(found))
            self.wake(_names(woken))
            await self._accounts.ended(ended)
        return sorted(names)

    def wake(self, queues: Sequence[str]) -> None:
        """Tell everybody."""
        if queues:
            self._told([QueueWake(queues=queues)])

    async def changed(self, versions: Mapping[str, int]) -> dict[str, int]:
        """Of these runs, those with another seq."""
        by_slot: dict[int, list[str]] = {}
        for run_id in versions:
            partition = partition_of(run_id, self._link.partitions)
            by_slot.setdefault(partition if self._link.clustered else 0, []).append(run_id)
        calls: list[Call] = []
        for slot, runs in by_slot.items():
            rows: list[str | int] = []
            for run_id in runs:
                rows += (partition_of(run_id, self._link.partitions), run_id)
            calls.append(Call("seqs", f"p{slot}", [_encode(rows)]))
        found: dict[str, int] = {}
        for runs, seqs in zip(by_slot.values(), await self._link.ask_all(calls), strict=True):
            found |= {run_id: seq for run_id, seq in zip(runs, seqs, strict=True) if seq != versions[run_id]}
        return found

    async def rows_of(self, run_id: str) -> list[QueueRow]:
        """All queue rows of a run, by path."""
        partition = partition_of(run_id, self._link.partitions)
        raw = await self._link.ask(Call("rows_of", f"p{partition}", [partition, run_id]))
        held, rows = _shown(raw)
        return [
            QueueRow(
                run_id=run_id,
                path=path,
                kind=kind,
                queue=queue,
                priority=priority,
                queued_us=queued_us,
                due_us=due_us,
                worker=worker if isinstance(worker, str) else None,
                epoch=epoch,
                leased_us=None if isinstance(leased, bool) else leased,
                lost=lost,
                held=bool(held),
                note=note,
            )
            for path, kind, queue, priority, queued_us, due_us, worker, epoch, leased, lost, note in sorted(
                rows, key=lambda row: row[0]
            )
        ]

    async def depth(self) -> dict[str, int]:
        """Free due rows by queue."""
        calls = [Call("depth", f"p{group[0]}", [_encode(group)]) for group in self._link.groups()]
        depth: dict[str, int] = {}
        for counts in await self._link.ask_all(calls):
            for at in range(0, len(counts), 2):
                name = counts[at].decode()
                depth[name] = depth.get(name, 0) + counts[at + 1]
        return depth

    async def workers(self) -> list[WorkerRow]:
        """All registered workers, by name. What partitions say of one is put together."""
        calls = [Call("workers", f"p{group[0]}", [_encode(group)]) for group in self._link.groups()]
        found: dict[str, WorkerRow] = {}
        for rows in await self._link.ask_all(calls):
            for at in range(0, len(rows), 5):
                name = rows[at].decode()
                before = found.get(name)
                found[name] = WorkerRow(
                    worker=name,
                    seen_us=max(rows[at + 1], before.seen_us if before else 0),
                    expires_us=max(rows[at + 2], before.expires_us if before else 0),
                    leases=rows[at + 3] + (before.leases if before else 0),
                    info=rows[at + 4],
                )
        return [found[name] for name in sorted(found)]


def _claim_answer(reply: Sequence[bytes]) -> ClaimAnswer:
    now_us, next_due_us, found = _claimed(reply[0])
    return ClaimAnswer(
        claims=[
            Claim(
                namespace=namespace,
                run_id=run_id,
                path=path,
                kind=kind,
                queue=queue,
                priority=priority,
                epoch=epoch,
                queued_us=queued_us,
                due_us=due_us,
                lost=lost,
                rolled_back=rolled_back,
                payload=payload,
            )
            for (
                namespace,
                run_id,
                path,
                kind,
                queue,
                priority,
                epoch,
                queued_us,
                due_us,
                lost,
                rolled_back,
            ), payload in zip(found, reply[1:], strict=True)
        ],
        now_us=now_us,
        next_due_us=next_due_us or None,
    )


def owned(replies: Iterable[Any], url: str) -> HeartbeatAnswer:
    """The answer to a heartbeat, from what the partitions said.

    Raises:
        StoreUnavailable: nobody answered.
    """
    now_us, leases = 0, list[Granted]()
    for now, keys in replies:
        now_us = max(now_us, now)
        for at in range(0, len(keys), 2):
            run_id, _, path = keys[at].decode().partition("\0")
            leases.append(Granted(run_id=run_id, path=path, epoch=int(keys[at + 1])))
    if not now_us:
        raise StoreUnavailable(f"{url}: no partition answered a heartbeat")
    return HeartbeatAnswer(now_us=now_us, owned=leases)
