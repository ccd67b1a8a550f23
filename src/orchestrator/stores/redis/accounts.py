"""Slots and rates over all runs.

On one server `acquire` is one function: it sees the row and the accounts together, and whatever ends a lease frees its
slots in the same step. In a cluster rows and accounts are in different slots, and no function sees both. There a slot
is taken *before* the row says so and freed *after* its lease ended: for moments a slot may be kept that nobody uses,
but never are more tasks under a limit than it allows. What ended is written beside the row in the step that ended it
(`ended`), and stays there until the accounts have heard of it; `repair` hears of what a dead process left behind.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from orchestrator.errors import StoreError
from orchestrator.stores.contract import AccountRow, Acquired, Granted, Limit, QueueWake, SlotHolder, Wake
from orchestrator.stores.redis.keys import ACCOUNTS_SLOT, partition_of
from orchestrator.stores.redis.link import Call, Link
from orchestrator.stores.rules import rate_note

REPAIR_SECONDS = 30.0
ENDED_AT_ONCE = 200

log: Any = structlog.get_logger("orchestrator.store.redis")
_encode = msgspec.msgpack.Encoder().encode
_names = msgspec.msgpack.Decoder(list[str]).decode
_ended = msgspec.msgpack.Decoder(tuple[str, int, str, str, int]).decode
_next = msgspec.msgpack.Decoder(list[tuple[str, int, list[str | int]]]).decode
_accounts = msgspec.msgpack.Decoder(list[tuple[str, list[str], list[str]]]).decode


class Accounts:
    """See the module."""

    def __init__(self, link: Link, told: Callable[[list[Wake]], None]) -> None:
        self._link = link
        self._told = told
        self._repaired = 0.0

    async def acquire(self, worker: str, lease: Granted, limits: Sequence[Limit]) -> Acquired:
        """See the contract."""
        partition = partition_of(lease.run_id, self._link.partitions)
        given = _encode([partition, lease.run_id, lease.path, lease.epoch])
        wanted = _encode(
            [
                (
                    limit.account,
                    limit.name,
                    limit.concurrency or False,
                    limit.rate or False,
                    limit.per_us,
                    "" if limit.rate is None else rate_note(limit),
                )
                for limit in limits
            ]
        )
        if self._link.clustered:
            return await self._acquire_apart(worker, lease, partition, given, wanted, limits)
        became, woken = await self._link.ask(Call("acquire", ACCOUNTS_SLOT, [worker, given, wanted]))
        self._wake(woken)
        return Acquired(became.decode())

    async def _acquire_apart(
        self,
        worker: str,
        lease: Granted,
        partition: int,
        given: bytes,
        wanted: bytes,
        limits: Sequence[Limit],
    ) -> Acquired:
        slot = f"p{partition}"
        row = _encode([lease.run_id, lease.path, lease.epoch])
        if await self._link.ask(Call("leased", slot, [partition, worker, row])) != [1]:
            return Acquired.FENCED
        refused = await self._link.ask(Call("acquire_take", ACCOUNTS_SLOT, [given, wanted]))
        names = _encode([limit.account for limit in limits])
        delay, note = refused or ("", "")
        became, woken, ended = await self._link.ask(
            Call("acquire_mark", slot, [worker, given, names, delay, note])
        )
        self._wake(woken)
        if became == b"fenced":
            # The lease ended meanwhile; who ended it saw no slots at the row.
            await self.ended(
                [
                    _encode((limit.account, partition, lease.run_id, lease.path, lease.epoch))
                    for limit in limits
                ]
            )
            return Acquired.FENCED
        await self.ended(ended)
        return Acquired.WAITS if refused else Acquired.GRANTED

    async def ended(self, ended: Sequence[bytes]) -> None:
        """In a cluster: tell the accounts which slots' leases have ended, and call who is next.

        Where that fails, what ended is still written beside its row, and `repair` comes back to it.
        """
        if not ended:
            return
        try:
            await self._tell_ended(ended)
        except StoreError as error:
            log.debug("slots that ended are freed later", slots=len(ended), error=str(error))

    async def _tell_ended(self, ended: Sequence[bytes]) -> None:
        entries = [_ended(one) for one in ended]
        answer = await self._link.ask(Call("ended_slots", ACCOUNTS_SLOT, [_encode(entries)]))
        called: list[str | bool] = []
        for account, taken, line in _next(answer):
            for at in range(0, len(line), 2):
                key, most = str(line[at]), int(line[at + 1])
                full = taken >= most
                became, woken = await self._link.ask(
                    Call("call_rows", f"p{key.partition(chr(0))[0]}", [key, "1" if full else "0"])
                )
                if became == b"gone":
                    called += (account, key, False)
                elif became == b"called":
                    if full:
                        break
                    called += (account, key, True)
                    taken += 1
                    self._wake(woken)
        if called:
            await self._link.ask(Call("called_rows", ACCOUNTS_SLOT, [_encode(called)]))
        await self._link.commands(
            [
                ("LREM", self._link.key(f"p{entry[1]}", "ended"), 1, raw)
                for entry, raw in zip(entries, ended, strict=True)
            ]
        )

    async def repair(self) -> None:
        """In a cluster, now and then: what a process that died between two steps left behind."""
        if not self._link.clustered or time.monotonic() < self._repaired + REPAIR_SECONDS:
            return
        self._repaired = time.monotonic()
        commands = [
            ("LRANGE", self._link.key(f"p{partition}", "ended"), 0, ENDED_AT_ONCE - 1)
            for partition in range(self._link.partitions)
        ]
        for left in await self._link.commands(commands):
            await self.ended(left)
        found = _accounts(await self._link.ask(Call("accounts_list", ACCOUNTS_SLOT, [])))
        for account, slots, _ in found:
            keys, epochs = slots[0::2], [int(epoch) for epoch in slots[1::2]]
            states = await self._states(keys, epochs)
            gone = [
                _encode((account, int(parts[0]), parts[1], parts[2], epoch))
                for parts, epoch, state in zip((_parts(key) for key in keys), epochs, states, strict=True)
                if state != 1
            ]
            await self.ended(gone)

    async def _states(self, keys: Sequence[str], epochs: Sequence[int]) -> list[int]:
        calls: list[Call] = []
        for key, epoch in zip(keys, epochs, strict=True):
            partition, run_id, path = _parts(key)
            calls.append(Call("leased", f"p{partition}", [partition, "", _encode([run_id, path, epoch])]))
        return [answer[0] for answer in await self._link.ask_all(calls)]

    async def rows(self) -> list[AccountRow]:
        """Every account in use."""
        found = _accounts(await self._link.ask(Call("accounts_list", ACCOUNTS_SLOT, [])))
        rows: list[AccountRow] = []
        for account, slots, waiting in sorted(found):
            if self._link.clustered:
                states = await self._states(waiting, [0] * len(waiting))
                waiting = [key for key, state in zip(waiting, states, strict=True) if state >= 0]
            holders = sorted((_parts(key)[1], _parts(key)[2]) for key in slots[0::2])
            if holders or waiting:
                rows.append(
                    AccountRow(
                        account=account,
                        holders=tuple(SlotHolder(run_id=run_id, path=path) for run_id, path in holders),
                        waiting=len(waiting),
                    )
                )
        return rows

    def _wake(self, woken: bytes) -> None:
        queues = _names(woken)
        if queues:
            self._told([QueueWake(queues=queues)])


def _parts(key: str) -> tuple[str, str, str]:
    partition, run_id, path = key.split("\0", 2)
    return partition, run_id, path
