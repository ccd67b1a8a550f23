"""Commits on their way to the server and their answers on the way back.

Many commits travel in one call, their structure as MessagePack and what is opaque beside it: the server blocks for a
few milliseconds at most, and syncs its disk once for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orchestrator.errors import CommitUnknown, StoreUnavailable
from orchestrator.stores.contract import (
    Commit,
    CommitAnswer,
    Granted,
    Outcome,
    QueueWake,
    RunAdvanced,
    RunIndex,
    Wake,
)
from orchestrator.stores.redis.accounts import Accounts
from orchestrator.stores.redis.faults import refused, translate
from orchestrator.stores.redis.keys import partition_of
from orchestrator.stores.redis.link import Arg, Call, Link
from orchestrator.stores.rules import search_text

CALL_COMMITS_MAX = 128
CALL_BYTES_MAX = 8 * 1024 * 1024
STALE_TRIES = 3
RUNS_FRESH_MAX = 100_000

_Answer = tuple[int, int, list[str | int], str, list[str], bool]
_decode = msgspec.msgpack.Decoder(tuple[int, list[_Answer], list[str]]).decode
_encode = msgspec.msgpack.Encoder().encode
_OUTCOMES = (Outcome.OK, Outcome.CONFLICT, Outcome.FENCED)


class Commits:
    """Sends batches. After a server that may have lost writes was found, it refuses commits to runs that were loaded
    before: what their writers know may not be true any more. A conflict makes them load the run."""

    def __init__(self, link: Link, accounts: Accounts, told: Callable[[list[Wake]], None]) -> None:
        self._link = link
        self._accounts = accounts
        self._told = told
        self._generation = link.generation
        self._fresh: dict[str, None] | None = None

    def loaded(self, run_id: str, generation: int) -> None:
        """The run was loaded; loading began when the link was at this generation."""
        self._catch_up()
        if self._fresh is not None and generation == self._generation:
            self._fresh[run_id] = None
            if len(self._fresh) > RUNS_FRESH_MAX:
                self._fresh.pop(next(iter(self._fresh)))

    def _catch_up(self) -> None:
        if self._generation != self._link.generation:
            self._generation, self._fresh = self._link.generation, {}

    def _stale(self, commit: Commit) -> bool:
        return self._fresh is not None and bool(commit.expected) and commit.run_id not in self._fresh

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        """See the contract."""
        answers: list[CommitAnswer | None] = [None] * len(batch)
        places = list(range(len(batch)))
        some_done = False
        for _ in range(STALE_TRIES):
            self._catch_up()
            for place in places:
                if self._stale(batch[place]):
                    seq = batch[place].expected or 0
                    answers[place] = CommitAnswer(outcome=Outcome.CONFLICT, seq=seq)
            places = [place for place in places if answers[place] is None]
            generation = self._link.generation
            stale = await self._send(batch, places, answers, some_done=some_done)
            some_done = some_done or len(stale) < len(places)
            for place in places:
                answer = answers[place]
                if answer is not None and answer.outcome is Outcome.OK:
                    self.loaded(batch[place].run_id, generation)
            places = stale
            if not places:
                return self._timed([answer for answer in answers if answer is not None])
            await self._link.ask_incarnations()
        raise CommitUnknown(f"{self._link.url} was restarted again and again while a batch was written")

    def _timed(self, answers: list[CommitAnswer]) -> list[CommitAnswer]:
        """The time of a conflict that was answered here is that of the others."""
        latest = max((answer.now_us for answer in answers), default=0)
        return [
            answer if answer.now_us else msgspec.structs.replace(answer, now_us=latest) for answer in answers
        ]

    async def _send(
        self,
        batch: Sequence[Commit],
        places: Sequence[int],
        answers: list[CommitAnswer | None],
        *,
        some_done: bool,
    ) -> list[int]:
        """Write these commits; those that came upon another incarnation are given back."""
        groups = self._groups(batch, places)
        calls = [self._call([(batch[place], partition) for place, partition in group]) for group in groups]
        try:
            replies = await self._link.run(calls)
        except StoreUnavailable as error:
            if some_done:
                raise CommitUnknown(str(error)) from error
            raise
        stale: list[int] = []
        wakes: list[Wake] = []
        queues: set[str] = set()
        ended: list[bytes] = []
        failed: Exception | None = None
        for group, reply in zip(groups, replies, strict=True):
            if isinstance(reply, Exception):
                if str(reply).startswith("STALE"):
                    stale += [place for place, _ in group]
                else:
                    failed = reply
                continue
            some_done = True
            now, found, woken = _decode(reply[0])
            queues.update(woken)
            ended += reply[1]
            for (place, _), one in zip(group, found, strict=True):
                answers[place] = _answer(batch[place], one, now)
                queues.update(one[4])
                if one[5]:
                    wakes.append(RunAdvanced(run_id=batch[place].run_id, workflow=one[3], seq=one[1]))
        if queues:
            wakes.append(QueueWake(queues=sorted(queues)))
        self._told(wakes)
        await self._accounts.ended(ended)
        if failed is not None:
            ours = translate(failed, self._link.url)
            if refused(failed) and not some_done:
                raise ours from failed
            if refused(failed):
                raise CommitUnknown(f"{ours}; a part of the batch was written") from failed
            raise ours from failed
        return stale

    def _groups(self, batch: Sequence[Commit], places: Sequence[int]) -> list[list[tuple[int, int]]]:
        """Which commits go into one call, each with its partition: on one server any, in a cluster of one partition."""
        groups: list[list[tuple[int, int]]] = []
        current: dict[int, tuple[list[tuple[int, int]], int]] = {}
        for place in places:
            commit = batch[place]
            partition = partition_of(commit.run_id, self._link.partitions)
            slot = partition if self._link.clustered else 0
            group, size = current.get(slot, (None, 0))
            size += _size(commit)
            if group is None or len(group) >= CALL_COMMITS_MAX or size > CALL_BYTES_MAX:
                group, size = list[tuple[int, int]](), _size(commit)
                groups.append(group)
            group.append((place, partition))
            current[slot] = (group, size)
        return groups

    def _call(self, group: Sequence[tuple[Commit, int]]) -> Call:
        opaque: list[Arg] = []
        structure = [encode(commit, part, self._link.incarnation(part), opaque) for commit, part in group]
        return Call("commit", f"p{group[0][1]}", [_encode(structure), *opaque])


def _size(commit: Commit) -> int:
    """About how many bytes it brings."""
    size = sum(map(len, commit.events)) + sum(len(blob.data) for blob in commit.blobs)
    return size + sum(len(row.payload) for row in commit.enqueue) + len(commit.snapshot or b"")


def encode(commit: Commit, partition: int, incarnation: str, opaque: list[Arg]) -> tuple[Any, ...]:
    """The structure of a commit for `commit.lua`; what is opaque is put at the end of `opaque`."""
    before = len(opaque)
    opaque += commit.events
    stands_on: list[str | int] = []
    for lease in commit.stands_on:
        stands_on += (lease.path, lease.epoch, 1 if lease.finish else 0)
    enqueue: list[tuple[Any, ...]] = []
    for row in commit.enqueue:
        enqueue.append(
            (row.path, row.kind, row.queue, row.priority, row.delay_us, row.leased, bool(row.payload))
        )
        if row.payload:
            opaque.append(row.payload)
    blobs: list[str] = []
    for blob in commit.blobs:
        blobs += (blob.blob_id, blob.codec)
        opaque.append(blob.data)
    if commit.index is not None:
        opaque += (_encode(commit.index), search_text(commit.run_id, commit.index))
    if commit.snapshot is not None:
        opaque.append(commit.snapshot)
    if commit.summary is not None:
        opaque.append(commit.summary)
    return (
        partition,
        incarnation,
        commit.run_id,
        commit.commit_id,
        commit.namespace,
        -1 if commit.expected is None else commit.expected,
        commit.worker,
        len(commit.events),
        stands_on,
        commit.withdraw,
        0 if commit.hold is None else 1 if commit.hold else 2,
        enqueue,
        blobs,
        False if commit.index is None else known_to_lists(commit.index),
        commit.snapshot is not None,
        commit.summary is not None,
        len(opaque) - before,
        commit.turn,
    )


def known_to_lists(index: RunIndex) -> list[Any]:
    """What the server knows of an index row."""
    labels = [text for pair in index.labels.items() for text in pair]
    return [index.workflow, index.live, index.status, index.created_us, index.parent_run or False, labels]


def _answer(commit: Commit, found: _Answer, now_us: int) -> CommitAnswer:
    outcome, seq, names = _OUTCOMES[found[0]], found[1], found[2]
    if outcome is Outcome.OK:
        if not names:
            return CommitAnswer(outcome=outcome, seq=seq, now_us=now_us)
        leases = [
            Granted(run_id=commit.run_id, path=str(names[at]), epoch=int(names[at + 1]))
            for at in range(0, len(names), 2)
        ]
        return CommitAnswer(outcome=outcome, seq=seq, leases=leases, now_us=now_us)
    return CommitAnswer(outcome=outcome, seq=seq, lost=[str(name) for name in names], now_us=now_us)
