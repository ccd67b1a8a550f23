"""A batch of commits as arrays for `commit_1`, and its answers.

Of a batch in which a run occurs several times, each run's n-th commits make the n-th round: one call of the function
for each, all in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.stores.codec import decode_index, encode_index, pack_events
from orchestrator.stores.contract import (
    COMMITS_REMEMBERED,
    SLOT_CALL_US,
    TURN_US,
    Commit,
    CommitAnswer,
    Enqueue,
    Granted,
    Lease,
    Outcome,
    RunIndex,
)
from orchestrator.stores.postgres.connections import Row
from orchestrator.stores.postgres.packing import blobs, ints, longs, texts
from orchestrator.stores.rules import search_text

_PARAMETERS = 48
"""Of more than 50 the driver takes the statement apart anew each time."""
COMMIT = b"SELECT * FROM commit_1(%b)" % b", ".join(
    [b"%d, %d, %d" % (TURN_US, SLOT_CALL_US, COMMITS_REMEMBERED), *[b"%s"] * _PARAMETERS]
)

_OUTCOMES = (Outcome.OK, Outcome.CONFLICT, Outcome.FENCED, Outcome.OK)
_encode_labels = msgspec.json.Encoder(order="sorted").encode


@dataclass(slots=True)
class Round:
    """Commits of different runs, and their places in the batch."""

    places: list[int] = field(default_factory=list[int])
    commits: list[Commit] = field(default_factory=list[Commit])
    enqueued: list[str] = field(default_factory=list[str])
    """The paths of all enqueued rows, one commit's after another's."""
    leases: list[str] = field(default_factory=list[str])
    """Those of all leases."""


def rounds_of(batch: Sequence[Commit]) -> list[Round]:
    """The batch in as many rounds as its most frequent run needs."""
    rounds: list[Round] = []
    seen: dict[str, int] = {}
    for place, commit in enumerate(batch):
        number = seen.get(commit.run_id, 0)
        seen[commit.run_id] = number + 1
        if number == len(rounds):
            rounds.append(Round())
        rounds[number].places.append(place)
        rounds[number].commits.append(commit)
    return rounds


def index_fields(run_id: str, index: RunIndex) -> tuple[RunIndex, str, str, bytes]:
    """An index row as it is stored: itself without what isn't Unicode, labels, the text of searches, the record."""
    record = encode_index(index)
    clean = decode_index(record)
    return clean, _encode_labels(dict(clean.labels)).decode(), search_text(run_id, clean), record


class _Parts:
    """The parts of a round's commits, one commit's after another's; the names are those of `commit_1`."""

    def __init__(self, one: Round) -> None:
        self.one = one
        self.names: dict[str, int] = {}
        self.who: list[int] = []
        self.framed: list[int] = []
        self.data: list[bytes] = []
        self.t_of: list[int] = []
        self.t_path: list[str] = []
        self.l_end: list[int] = []
        self.l_touch: list[int] = []
        self.l_epoch: list[int] = []
        self.l_finish: list[int] = []
        self.w_end: list[int] = []
        self.w_touch: list[int] = []
        self.e_end: list[int] = []
        self.e_touch: list[int] = []
        self.e_spare: list[int] = []
        self.x: list[tuple[Any, ...]] = []
        self.b: list[tuple[int, str, str, bytes]] = []
        self.s: list[tuple[int, bytes]] = []
        for nth, commit in enumerate(one.commits, 1):
            worker = commit.worker
            self.who.append(self.names.setdefault(worker, len(self.names) + 1) if worker else 0)
            packed, is_framed = pack_events(commit.events)
            self.data.append(packed)
            self.framed.append(is_framed)
            if commit.index is not None or commit.blobs or commit.snapshot is not None:
                self._add_rare(nth, commit)
            if len(commit.stands_on) == 1 and len(commit.enqueue) <= 1 and not commit.withdraw:
                self._add_step(nth, commit.stands_on[0], commit.enqueue)
            else:
                self._add_rows(nth, commit)
            self.l_end.append(len(self.l_touch))
            self.w_end.append(len(self.w_touch))
            self.e_end.append(len(self.e_touch))

    def _touch(self, nth: int, path: str) -> int:
        self.t_path.append(path)
        self.t_of.append(nth)
        return len(self.t_path)

    def _add_lease(self, lease: Lease, touch: int) -> None:
        self.l_touch.append(touch)
        self.l_epoch.append(lease.epoch)
        self.l_finish.append(lease.finish)
        self.one.leases.append(lease.path)

    def _add_step(self, nth: int, lease: Lease, enqueue: Sequence[Enqueue]) -> None:
        """The step of a chain, in short."""
        touch = self._touch(nth, lease.path)
        self._add_lease(lease, touch)
        if enqueue:
            path = enqueue[0].path
            again = path == lease.path
            self.e_touch.append(touch if again else self._touch(nth, path))
            self.e_spare.append(touch if lease.finish and not again else 0)
            self.one.enqueued.append(path)

    def _add_rows(self, nth: int, commit: Commit) -> None:
        """The queue rows that a commit speaks of, whatever it does with them."""
        touched: dict[str, int] = {}
        fresh = {wanted.path for wanted in commit.enqueue}
        ended = [lease.path for lease in commit.stands_on]
        for path in (*ended, *commit.withdraw, *(wanted.path for wanted in commit.enqueue)):
            if path not in touched:
                touched[path] = self._touch(nth, path)
        spare = [
            lease.path
            for lease in commit.stands_on
            if lease.finish and lease.path not in commit.withdraw and lease.path not in fresh
        ]
        for lease in commit.stands_on:
            self._add_lease(lease, touched[lease.path])
        self.w_touch += [touched[path] for path in commit.withdraw]
        for wanted in commit.enqueue:
            self.e_touch.append(touched[wanted.path])
            self.e_spare.append(touched[spare.pop()] if spare else 0)
            self.one.enqueued.append(wanted.path)

    def _add_rare(self, nth: int, commit: Commit) -> None:
        """What most commits don't have: an index row, blobs, a snapshot."""
        if commit.index is not None:
            index, labels, search, record = index_fields(commit.run_id, commit.index)
            self.x.append(
                (nth, commit.run_id, commit.namespace, index.workflow, index.status, int(index.live),
                 index.created_us, index.parent_run, labels, search, record)
            )  # fmt: skip
        self.b += [(nth, blob.blob_id, blob.codec, blob.data) for blob in commit.blobs]
        if commit.snapshot is not None:
            self.s.append((nth, commit.snapshot))


def parameters(one: Round, now_us: int | None) -> tuple[Any, ...]:
    """The arguments of `commit_1`.

    Raises:
        UnicodeEncodeError: a text of a commit holds a lone surrogate.
    """
    commits, parts = one.commits, _Parts(one)
    enqueue = [wanted for commit in commits for wanted in commit.enqueue]
    x, b, s = parts.x, parts.b, parts.s
    return (
        now_us, texts(list(parts.names)),
        texts([commit.run_id for commit in commits]), texts([commit.namespace for commit in commits]),
        texts([commit.commit_id for commit in commits]), ints(parts.who),
        longs([-1 if commit.expected is None else commit.expected for commit in commits]),
        ints([-1 if commit.hold is None else int(commit.hold) for commit in commits]),
        texts([commit.turn for commit in commits]), ints([len(commit.events) for commit in commits]),
        ints(parts.framed), blobs(parts.data), blobs([commit.summary for commit in commits]),
        ints(parts.t_of), texts(parts.t_path),
        ints(parts.l_end), ints(parts.l_touch), longs(parts.l_epoch), ints(parts.l_finish),
        ints(parts.w_end), ints(parts.w_touch),
        ints(parts.e_end), ints(parts.e_touch), ints(parts.e_spare), ints([wanted.leased for wanted in enqueue]),
        texts([wanted.path for wanted in enqueue]), texts([wanted.kind.value for wanted in enqueue]),
        texts([wanted.queue for wanted in enqueue]), ints([wanted.priority for wanted in enqueue]),
        longs([wanted.delay_us for wanted in enqueue]), blobs([wanted.payload for wanted in enqueue]),
        ints([row[0] for row in x]), texts([row[1] for row in x]), texts([row[2] for row in x]),
        texts([row[3] for row in x]), texts([row[4] for row in x]), ints([row[5] for row in x]),
        longs([row[6] for row in x]), texts([row[7] for row in x]), texts([row[8] for row in x]),
        texts([row[9] for row in x]), blobs([row[10] for row in x]),
        ints([row[0] for row in b]), texts([row[1] for row in b]), texts([row[2] for row in b]),
        blobs([row[3] for row in b]),
        ints([row[0] for row in s]), blobs([row[1] for row in s]),
    )  # fmt: skip


def answers_of(one: Round, row: Row) -> tuple[list[CommitAnswer], list[str]]:
    """The answers of a round, and the queues that the function itself woke."""
    outcomes: list[int]
    seqs: list[int]
    epochs: list[int]
    given: list[int]
    lost: list[int]
    outcomes, seqs, epochs, given, lost, woken, now_us = row
    commits = one.commits
    granted: dict[int, list[Granted]] = {}
    missing: dict[int, list[str]] = {}
    if given:
        nth = _owners(commits, [len(commit.enqueue) for commit in commits])
        for place in given:
            owner = nth[place - 1]
            granted.setdefault(owner, []).append(
                Granted(run_id=commits[owner].run_id, path=one.enqueued[place - 1], epoch=epochs[owner])
            )
    if lost:
        nth = _owners(commits, [len(commit.stands_on) for commit in commits])
        for place in lost:
            missing.setdefault(nth[place - 1], []).append(one.leases[place - 1])
    found = [
        CommitAnswer(
            outcome=_OUTCOMES[outcome],
            seq=seq,
            leases=granted.get(number, ()),
            lost=missing.get(number, ()),
            now_us=now_us,
        )
        for number, (outcome, seq) in enumerate(zip(outcomes, seqs, strict=True))
    ]
    return found, woken


def _owners(commits: Sequence[Commit], lengths: Sequence[int]) -> list[int]:
    """Which commit the n-th of all parts belongs to."""
    return [number for number in range(len(commits)) for _ in range(lengths[number])]


def queues_to_wake(commits: Sequence[Commit], answers: Sequence[CommitAnswer]) -> set[str]:
    """The queues in which a written commit left a row that nobody has (or perhaps has: a wake-up is a hint)."""
    woken: set[str] = set()
    for commit, answer in zip(commits, answers, strict=True):
        if answer.outcome is Outcome.OK and len(commit.enqueue) > len(answer.leases):
            leased = {lease.path for lease in answer.leases}
            woken.update(wanted.queue for wanted in commit.enqueue if wanted.path not in leased)
    return woken
