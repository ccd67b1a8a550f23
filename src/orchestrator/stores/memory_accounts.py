"""Accounts of the memory store: slots, lines of those who wait for one, and rates. The contract says what they mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.stores.contract import SLOT_CALL_US, SLOT_WAIT_US, AccountRow, Limit, SlotHolder
from orchestrator.stores.rules import Bucket, rate_note, slot_note

Key = tuple[str, str]
"""Run id and path of a queue row."""


class QueueRow(Protocol):
    """What is looked at of a queue row, and changed."""

    worker: str | None
    epoch: int
    due_us: int


@dataclass(slots=True)
class _Waiter:
    """Somebody in line. `turn`: place in the line of a slot, or the time of the turn of a rate."""

    turn: int
    most: int = 0
    called_us: int = -SLOT_CALL_US


class Accounts:
    """See the module."""

    def __init__(self, queue: Mapping[Key, QueueRow], held: Callable[[str], bool]) -> None:
        self._queue = queue
        self._held = held
        self._slots: dict[str, dict[Key, int]] = {}
        self._lines: dict[str, dict[Key, _Waiter]] = {}
        self._buckets: dict[str, Bucket] = {}
        self._last_turn = 0

    def sweep(self, now: int) -> list[Key]:
        """End the slots whose lease has ended, and call those who are next; the rows that fall due by it."""
        called: list[Key] = []
        for account in sorted(self._slots):
            slots = self._slots[account]
            gone = [key for key, epoch in slots.items() if not self._leased(key, epoch)]
            for key in gone:
                del slots[key]
            if gone:
                called += self._call(account, now)
            if not slots:
                del self._slots[account]
        return called

    def _leased(self, key: Key, epoch: int) -> bool:
        row = self._queue.get(key)
        return row is not None and row.worker is not None and row.epoch == epoch

    def _call(self, account: str, now: int) -> list[Key]:
        line = self._lines.get(account, {})
        for key in [key for key in line if key not in self._queue]:
            del line[key]
        taken = len(self._slots.get(account, {}))
        taken += sum(waiter.called_us > now - SLOT_CALL_US for waiter in line.values())
        called: list[Key] = []
        for key, waiter in sorted(line.items(), key=lambda item: item[1].turn):
            row = self._queue[key]
            if waiter.called_us > now - SLOT_CALL_US or row.worker is not None or self._held(key[0]):
                continue
            if taken >= waiter.most:
                break
            waiter.called_us = now
            row.due_us = min(row.due_us, now)
            taken += 1
            called.append(key)
        return called

    def acquire(self, key: Key, epoch: int, limits: Sequence[Limit], now: int) -> tuple[int, str] | None:
        """Take all of them (None), or none: how long to wait, and what for."""
        for limit in limits:
            if self._slots.get(limit.account, {}).get(key) == epoch:
                continue
            refused = (
                self._no_slot(key, limit, now)
                if limit.concurrency is not None
                else self._no_turn(key, limit, now)
            )
            if refused is not None:
                return refused
        for limit in limits:
            slots = self._slots.setdefault(limit.account, {})
            if slots.get(key) != epoch and limit.concurrency is None:
                self._bucket(limit, now).take(now)
            slots[key] = epoch
            self._lines.get(limit.account, {}).pop(key, None)
        return None

    def _no_slot(self, key: Key, limit: Limit, now: int) -> tuple[int, str] | None:
        assert limit.concurrency is not None
        line = self._lines.setdefault(limit.account, {})
        slots = self._slots.get(limit.account, {})
        others = [one for one in slots if one != key]
        called = [one for one, waiter in line.items() if one != key and waiter.called_us > now - SLOT_CALL_US]
        if len(others) + len([one for one in called if one in self._queue]) < limit.concurrency:
            return None
        waiter = line.get(key)
        if waiter is None:
            self._last_turn += 1
            waiter = line[key] = _Waiter(self._last_turn)
        waiter.most, waiter.called_us = limit.concurrency, -SLOT_CALL_US
        return SLOT_WAIT_US, slot_note(limit, [run for run, _ in others])

    def _no_turn(self, key: Key, limit: Limit, now: int) -> tuple[int, str] | None:
        bucket = self._bucket(limit, now)
        line = self._lines.setdefault(limit.account, {})
        waiter = line.get(key)
        if waiter is None:
            others = any(one in self._queue for one in line)
            turn = bucket.turn(now, others=others)
            if turn <= now:
                return None
            line[key] = _Waiter(turn)
        else:
            turn = max(waiter.turn, bucket.earliest())
            if turn <= now:
                return None
        return turn - now, rate_note(limit)

    def _bucket(self, limit: Limit, now: int) -> Bucket:
        assert limit.rate is not None
        bucket = self._buckets.setdefault(limit.account, Bucket())
        bucket.rate, bucket.per_us = limit.rate, limit.per_us
        return bucket

    def rows(self) -> list[AccountRow]:
        """Every account in use."""
        found: list[AccountRow] = []
        for account in sorted({*self._slots, *(name for name, line in self._lines.items() if line)}):
            slots = sorted(self._slots.get(account, {}))
            waiting = sum(key in self._queue for key in self._lines.get(account, {}))
            holders = tuple(SlotHolder(run_id=run, path=path) for run, path in slots)
            if holders or waiting:
                found.append(AccountRow(account=account, holders=holders, waiting=waiting))
        return found
