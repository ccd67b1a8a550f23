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
    Granted,
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


def parameters(one: Round, now_us: int | None) -> tuple[Any, ...]:
    """The arguments of `commit_1`.

    Raises:
        UnicodeEncodeError: a text of a commit holds a lone surrogate.
    """
    commits = one.commits
    names: dict[str, int] = {}
    who: list[int] = []
    expect: list[int] = []
    hold: list[int] = []
    framed: list[int] = []
    data: list[bytes] = []
    t_of: list[int] = []
    t_path: list[str] = []
    l_end: list[int] = []
    l_touch: list[int] = []
    l_epoch: list[int] = []
    l_finish: list[int] = []
    w_end: list[int] = []
    w_touch: list[int] = []
    e_end: list[int] = []
    e_touch: list[int] = []
    e_spare: list[int] = []
    x: list[tuple[Any, ...]] = []
    b: list[tuple[int, str, str, bytes]] = []
    s: list[tuple[int, bytes]] = []
    enqueue = [wanted for commit in commits for wanted in commit.enqueue]
    for nth, commit in enumerate(commits, 1):
        worker = commit.worker
        who.append(names.setdefault(worker, len(names) + 1) if worker else 0)
        expect.append(-1 if commit.expected is None else commit.expected)
        hold.append(-1 if commit.hold is None else int(commit.hold))
        packed, is_framed = pack_events(commit.events)
        data.append(packed)
        framed.append(is_framed)
        if commit.index is not None or commit.blobs or commit.snapshot is not None:
            _add_rare(nth, commit, x, b, s)
        leases, enqueued = commit.stands_on, commit.enqueue
        if len(leases) == 1 and len(enqueued) <= 1 and not commit.withdraw:  # the step of a chain, in short
            lease = leases[0]
            t_path.append(lease.path)
            t_of.append(nth)
            l_touch.append(len(t_path))
            l_epoch.append(lease.epoch)
            l_finish.append(lease.finish)
            one.leases.append(lease.path)
            if enqueued:
                path = enqueued[0].path
                if path != lease.path:
                    t_path.append(path)
                    t_of.append(nth)
                e_touch.append(len(t_path))
                e_spare.append(l_touch[-1] if lease.finish and path != lease.path else 0)
                one.enqueued.append(path)
            l_end.append(len(l_touch))
            w_end.append(len(w_touch))
            e_end.append(len(e_touch))
            continue
        touched: dict[str, int] = {}
        for lease in commit.stands_on:
            touched[lease.path] = 0
        for path in commit.withdraw:
            touched[path] = 0
        spare = [
            lease.path for lease in commit.stands_on if lease.finish and lease.path not in commit.withdraw
        ]
        if commit.enqueue:
            for wanted in commit.enqueue:
                touched[wanted.path] = 0
            fresh = {wanted.path for wanted in commit.enqueue}
            spare = [path for path in spare if path not in fresh]
        for path in touched:
            t_path.append(path)
            t_of.append(nth)
            touched[path] = len(t_path)
        for lease in commit.stands_on:
            l_touch.append(touched[lease.path])
            l_epoch.append(lease.epoch)
            l_finish.append(lease.finish)
            one.leases.append(lease.path)
        w_touch += [touched[path] for path in commit.withdraw]
        for wanted in commit.enqueue:
            e_touch.append(touched[wanted.path])
            e_spare.append(touched[spare.pop()] if spare else 0)
            one.enqueued.append(wanted.path)
        l_end.append(len(l_touch))
        w_end.append(len(w_touch))
        e_end.append(len(e_touch))
    return (
        now_us, texts(list(names)),
        texts([commit.run_id for commit in commits]), texts([commit.namespace for commit in commits]),
        texts([commit.commit_id for commit in commits]), ints(who), longs(expect), ints(hold),
        texts([commit.turn for commit in commits]), ints([len(commit.events) for commit in commits]), ints(framed),
        blobs(data), blobs([commit.summary for commit in commits]),
        ints(t_of), texts(t_path),
        ints(l_end), ints(l_touch), longs(l_epoch), ints(l_finish),
        ints(w_end), ints(w_touch),
        ints(e_end), ints(e_touch), ints(e_spare), ints([wanted.leased for wanted in enqueue]),
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


def _add_rare(
    nth: int,
    commit: Commit,
    x: list[tuple[Any, ...]],
    b: list[tuple[int, str, str, bytes]],
    s: list[tuple[int, bytes]],
) -> None:
    """What most commits don't have: an index row, blobs, a snapshot."""
    if commit.index is not None:
        index, labels, search, record = index_fields(commit.run_id, commit.index)
        x.append(
            (nth, commit.run_id, commit.namespace, index.workflow, index.status, int(index.live), index.created_us,
             index.parent_run, labels, search, record)
        )  # fmt: skip
    b += [(nth, blob.blob_id, blob.codec, blob.data) for blob in commit.blobs]
    if commit.snapshot is not None:
        s.append((nth, commit.snapshot))


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
