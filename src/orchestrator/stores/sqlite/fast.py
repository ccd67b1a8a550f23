"""The short path of `commit`: a whole group of common commits in a few calls into SQLite.

Each call into SQLite lets go of Python's global lock, and on a busy event loop it takes milliseconds to get it back;
three statements for each of a hundred commits would starve. So commits of a common shape are handed over as rows of
one INSERT into a temporary view, whose trigger does for each row what `commits` does in several statements: the check
and the change of the queue row in one conditional statement, then the journal row only if that one changed something,
and the summary only if the journal row was written.
A commit that isn't accepted there (refused, repeated, held run, path taken) has left nothing, and goes the complete
path, which finds out why.

The shapes: a run without labels that starts with one row; and one lease finished, events added, and either one row
enqueued for the same worker (a step of a chain), or none (the last step; its index row is written after).
"""

from collections import Counter
from collections.abc import Sequence

from orchestrator.stores.codec import encode_index, pack_events
from orchestrator.stores.contract import Commit, CommitAnswer, Granted, Outcome, RunAdvanced
from orchestrator.stores.rules import search_text
from orchestrator.stores.sqlite.commits import apply_commit, update_index
from orchestrator.stores.sqlite.database import Value, int_of, rows
from orchestrator.stores.sqlite.transaction import RunRef, Transaction

SETUP = """
CREATE TEMP VIEW chain_starts AS
SELECT 0 AS id, 0 AS run, 0 AS count, '' AS commit_id, 0 AS framed, x'' AS events, '' AS worker, '' AS path,
       0 AS epoch, '' AS kind, '' AS queue, 0 AS priority, 0 AS now_us, 0 AS due_us, x'' AS payload, x'' AS summary,
       '' AS run_id, '' AS namespace, '' AS workflow, '' AS status, 0 AS live, 0 AS created_us, '' AS parent_run,
       '' AS search, x'' AS record;

CREATE TEMP TRIGGER take_chain_start INSTEAD OF INSERT ON chain_starts BEGIN
    INSERT OR IGNORE INTO main.runs
        (key, run_id, namespace, workflow, status, live, created_us, parent_run, search, record, summary)
    SELECT new.run, new.run_id, new.namespace, new.workflow, new.status, new.live, new.created_us, new.parent_run,
        new.search, new.record, new.summary
    WHERE new.worker IS NULL OR EXISTS (SELECT 1 FROM main.workers WHERE worker = new.worker);
    INSERT INTO main.queue (run, path, kind, queue, priority, queued_us, due_us, held, worker, epoch, leased_us, lost,
        note, payload)
    SELECT new.run, new.path, new.kind, new.queue, new.priority, new.now_us, new.due_us, 0, new.worker, new.epoch,
        iif(new.worker IS NULL, NULL, new.now_us), 0, '', new.payload
    WHERE changes() = 1;
    INSERT INTO main.journal (id, run, last_seq, count, commit_id, framed, leases, events)
    SELECT new.id, new.run, new.count, new.count, new.commit_id, new.framed,
        iif(new.worker IS NULL, NULL, CAST(json_array(json_array(new.path, new.epoch)) AS BLOB)), new.events
    WHERE changes() = 1;
END;

CREATE TEMP VIEW chain_steps AS
SELECT 0 AS id, 0 AS run, 0 AS expected, 0 AS count, '' AS commit_id, 0 AS framed, x'' AS events, '' AS worker,
        '' AS from_path, 0 AS from_epoch, '' AS path, 0 AS epoch, '' AS kind, '' AS queue,
       0 AS priority, 0 AS now_us, 0 AS due_us, x'' AS payload, x'' AS summary;

CREATE TEMP TRIGGER take_chain_step INSTEAD OF INSERT ON chain_steps BEGIN
    UPDATE OR IGNORE main.queue SET
        path = new.path, kind = new.kind, queue = new.queue, priority = new.priority, queued_us = new.now_us,
        due_us = new.due_us, epoch = new.epoch, leased_us = new.now_us, lost = 0, note = '', payload = new.payload
    WHERE run = new.run AND path = new.from_path AND epoch = new.from_epoch AND worker = new.worker AND held = 0
        AND new.expected = (SELECT last_seq FROM journal WHERE run = new.run ORDER BY last_seq DESC LIMIT 1);
    INSERT INTO main.journal (id, run, last_seq, count, commit_id, framed, leases, events)
    SELECT new.id, new.run, new.expected + new.count, new.count, new.commit_id, new.framed,
        CAST(json_array(json_array(new.path, new.epoch)) AS BLOB), new.events
    WHERE changes() = 1;
    UPDATE main.runs SET summary = new.summary WHERE key = new.run AND new.summary IS NOT NULL AND changes() = 1;
END;

CREATE TEMP VIEW chain_ends AS
SELECT 0 AS id, 0 AS run, 0 AS expected, 0 AS count, '' AS commit_id, 0 AS framed, x'' AS events,
       '' AS from_path, 0 AS from_epoch, x'' AS summary;

CREATE TEMP TRIGGER take_chain_end INSTEAD OF INSERT ON chain_ends BEGIN
    DELETE FROM main.queue
    WHERE run = new.run AND path = new.from_path AND epoch = new.from_epoch AND worker IS NOT NULL
        AND new.expected = (SELECT last_seq FROM journal WHERE run = new.run ORDER BY last_seq DESC LIMIT 1);
    INSERT INTO main.journal (id, run, last_seq, count, commit_id, framed, leases, events)
    SELECT new.id, new.run, new.expected + new.count, new.count, new.commit_id, new.framed, NULL, new.events
    WHERE changes() = 1;
    UPDATE main.runs SET summary = new.summary WHERE key = new.run AND new.summary IS NOT NULL AND changes() = 1;
END;
"""
_START_ROW = "(" + ", ".join("?" * 25) + ")"
_STEP_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_END_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)
_START = "INSERT INTO chain_starts VALUES "
_STEP = "INSERT INTO chain_steps VALUES "
_END = "INSERT INTO chain_ends VALUES "
_STARTS = {size: _START + ", ".join([_START_ROW] * size) for size in _SIZES}
_STEPS = {size: _STEP + ", ".join([_STEP_ROW] * size) for size in _SIZES}
_ENDS = {size: _END + ", ".join([_END_ROW] * size) for size in _SIZES}
_OK = Outcome.OK
_ACCEPTED = "SELECT id FROM journal WHERE id > ?"

_Bindings = tuple[Value, ...]


class _Taken:
    """A commit on the short path: its journal id, and the answer that it gets if it was accepted."""

    __slots__ = ("answer", "commit", "journal_id", "place", "run")

    def __init__(
        self, place: int, commit: Commit, run: RunRef, journal_id: int, answer: CommitAnswer
    ) -> None:
        self.place, self.commit, self.run, self.journal_id, self.answer = (
            place,
            commit,
            run,
            journal_id,
            answer,
        )


def apply_batch(tx: Transaction, commits: Sequence[Commit]) -> list[CommitAnswer]:
    """Apply the commits of a whole group; one answer for each, in order."""
    answers: list[CommitAnswer | None] = [None] * len(commits)
    crowded: set[str] = set()
    if len({commit.run_id for commit in commits}) < len(commits):
        times = Counter([commit.run_id for commit in commits])
        crowded = {run_id for run_id in times if times[run_id] > 1}
    before = tx.journal_id
    starts: list[_Bindings] = []
    steps: list[_Bindings] = []
    ends: list[_Bindings] = []
    taken: list[_Taken] = []
    for place, commit in enumerate(() if tx.turns else commits):
        if commit.run_id in crowded:
            continue
        if _is_start(commit) and commit.run_id not in tx.known.runs:
            run, answer = _begin(tx, commit, starts)
            taken.append(_Taken(place, commit, run, tx.journal_id, answer))
            continue
        if not _is_common(commit):
            continue
        run = tx.find_run(commit.run_id)
        if run is None or run.namespace != commit.namespace:
            continue
        # Whoever has a lease is registered: nobody else would pass the trigger's condition.
        answer = _step(tx, commit, run, steps) if commit.enqueue else _end(tx, commit, run, ends)
        taken.append(_Taken(place, commit, run, tx.journal_id, answer))
    if taken:
        changes = tx.connection.total_changes()
        _insert(tx, _STARTS, starts)
        _insert(tx, _STEPS, steps)
        _insert(tx, _ENDS, ends)
        # Of a commit that is accepted its queue row, its journal row and its summary (or its run) have changed.
        without = [one for one in taken if one.commit.summary is None and one.commit.expected]
        all_changes = 3 * len(taken) - len(without)
        if tx.connection.total_changes() - changes != all_changes:
            taken = _accepted(tx, before, taken)
        _settle(tx, taken, answers)
    return [
        apply_commit(tx, commit) if answer is None else answer
        for commit, answer in zip(commits, answers, strict=True)
    ]


def _is_start(commit: Commit) -> bool:
    """Whether a run begins in the plainest way."""
    if commit.expected != 0 or commit.index is None or commit.index.labels or commit.index.error:
        return False
    if not commit.events or len(commit.enqueue) != 1 or commit.stands_on or commit.withdraw:
        return False
    return commit.hold is None and not commit.blobs and commit.snapshot is None


def _is_common(commit: Commit) -> bool:
    """Whether the commit has one of the shapes of this module."""
    if not commit.expected or not commit.events or len(commit.stands_on) != 1 or len(commit.enqueue) > 1:
        return False
    if commit.withdraw or commit.hold is not None or commit.blobs or commit.snapshot is not None:
        return False
    return commit.stands_on[0].finish and (not commit.enqueue or commit.enqueue[0].leased)


def _begin(tx: Transaction, commit: Commit, starts: list[_Bindings]) -> tuple[RunRef, CommitAnswer]:
    """Add the start of a run; the run, and the answer that it will have."""
    index, wanted = commit.index, commit.enqueue[0]
    assert index is not None, "a commit that creates a run has an index row"
    tx.run_key += 1
    tx.journal_id += 1
    tx.epoch += wanted.leased
    run = RunRef(tx.run_key, commit.run_id, commit.namespace, index.workflow)
    count = len(commit.events)
    data, framed = pack_events(commit.events)
    starts.append(
        (
            tx.journal_id,
            run.key,
            count,
            commit.commit_id,
            framed,
            data,
            commit.worker if wanted.leased else None,
            wanted.path,
            tx.epoch if wanted.leased else 0,
            wanted.kind.value,
            wanted.queue,
            wanted.priority,
            tx.now_us,
            tx.now_us + wanted.delay_us,
            wanted.payload,
            commit.summary or b"",
            run.run_id,
            run.namespace,
            index.workflow,
            index.status,
            int(index.live),
            index.created_us,
            index.parent_run,
            search_text(run.run_id, index),
            encode_index(index),
        )
    )
    leases = [Granted(run_id=run.run_id, path=wanted.path, epoch=tx.epoch)] if wanted.leased else []
    return run, CommitAnswer(outcome=_OK, seq=count, leases=leases, now_us=tx.now_us)


def _step(tx: Transaction, commit: Commit, run: RunRef, steps: list[_Bindings]) -> CommitAnswer:
    """Add a step of a chain; the answer that it will have."""
    done, wanted = commit.stands_on[0], commit.enqueue[0]
    tx.journal_id += 1
    tx.epoch += 1
    assert commit.expected is not None, "a commit with events says after which seq"
    count = len(commit.events)
    data, framed = pack_events(commit.events)
    steps.append(
        (
            tx.journal_id,
            run.key,
            commit.expected,
            count,
            commit.commit_id,
            framed,
            data,
            commit.worker,
            done.path,
            done.epoch,
            wanted.path,
            tx.epoch,
            wanted.kind.value,
            wanted.queue,
            wanted.priority,
            tx.now_us,
            tx.now_us + wanted.delay_us,
            wanted.payload,
            commit.summary,
        )
    )
    granted = Granted(run_id=run.run_id, path=wanted.path, epoch=tx.epoch)
    return CommitAnswer(outcome=_OK, seq=commit.expected + count, leases=[granted], now_us=tx.now_us)


def _end(tx: Transaction, commit: Commit, run: RunRef, ends: list[_Bindings]) -> CommitAnswer:
    """Add the end of a chain; the answer that it will have."""
    done = commit.stands_on[0]
    tx.journal_id += 1
    assert commit.expected is not None, "a commit with events says after which seq"
    count = len(commit.events)
    data, framed = pack_events(commit.events)
    ends.append(
        (
            tx.journal_id,
            run.key,
            commit.expected,
            count,
            commit.commit_id,
            framed,
            data,
            done.path,
            done.epoch,
            commit.summary,
        )
    )
    return CommitAnswer(outcome=_OK, seq=commit.expected + count, leases=[], now_us=tx.now_us)


def _insert(tx: Transaction, statements: dict[int, str], pending: list[_Bindings]) -> None:
    """Hand rows over, in as few statements as their number has binary digits (and one for each 128)."""
    start = 0
    for size in _SIZES:
        while len(pending) - start >= size:
            flat = [value for row in pending[start : start + size] for value in row]
            tx.connection.execute(statements[size], flat)
            start += size


def _accepted(tx: Transaction, before: int, taken: list[_Taken]) -> list[_Taken]:
    """Those that have their journal row."""
    ids = {int_of(row[0]) for row in rows(tx.connection, _ACCEPTED, (before,))}
    return [one for one in taken if one.journal_id in ids]


def _settle(tx: Transaction, accepted: list[_Taken], answers: list[CommitAnswer | None]) -> None:
    """Do what remains of the accepted ones."""
    for one in accepted:
        run, commit, answer = one.run, one.commit, one.answer
        answers[one.place] = answer
        if not commit.expected:
            tx.remember(run)
            if not commit.enqueue[0].leased:
                tx.wake_queues.add(commit.enqueue[0].queue)
        elif commit.index is not None:
            update_index(tx, run, commit.index)
        tx.advanced[run.run_id] = RunAdvanced(run_id=run.run_id, workflow=run.workflow, seq=answer.seq)
