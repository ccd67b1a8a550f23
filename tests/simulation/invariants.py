"""What must hold for every run at every moment, and for the world at the end (RELIABILITY: invariants)."""

from collections import Counter

from orchestrator.kernel.apply import apply, fold
from orchestrator.kernel.budgets import limit_of
from orchestrator.kernel.events import (
    Event,
    RunCancelled,
    RunFailed,
    RunRetried,
    RunStarted,
    RunSucceeded,
    SignalReceived,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskResolved,
    TaskScheduled,
    TaskSkipped,
    decode,
)
from orchestrator.kernel.outlook import expected_rows, message_path, open_messages, wakers_of
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.status import RunStatus
from orchestrator.model.definition import Definition
from orchestrator.stores.memory import MemoryStore

TERMINAL = (RunSucceeded, RunFailed, RunCancelled)


async def check_run(store: MemoryStore, run_id: str, definition: Definition) -> tuple[RunState, list[Event]]:
    """Check one run as the store has it; gives its state and journal."""
    events: list[Event] = [decode(line) for line in await store.read_journal(run_id, limit=100_000)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "seq has a gap"
    loaded = await store.load(run_id)
    assert loaded is not None
    assert loaded.seq == len(events)
    assert isinstance(events[0], RunStarted)
    if events[0].forked_from is not None:
        assert loaded.snapshot is not None, "a fork has no snapshot to begin with"
        state = fold(decode_state(loaded.snapshot), [decode(line) for line in loaded.events])
    else:
        state = RunState()
        for event in events:
            apply(state, event)
            if loaded.snapshot is not None and state.seq == loaded.snapshot_seq:
                snapshot = decode_state(loaded.snapshot)
                assert encode_state(state) == encode_state(snapshot), "the fold isn't the snapshot"
    assert loaded.index.status == state.status.value, "the index row has another status"
    assert loaded.held == (state.held and state.status.live), "the hold isn't what the state says"
    check_order(events)
    check_budget(state, definition)
    check_compensation(state, events)
    check_plans(events)
    await check_cached(store, events)
    if state.status.live:
        assert wakers_of(state), f"live run without a waker: {state.status}"
        rows = {row.path: row for row in await store.queue_rows(run_id)}
        missing = [row.path for row in expected_rows(state, definition) if row.path not in rows]
        assert not missing, f"no queue row for {missing}"
        for message in open_messages(state):
            known = message_path(message) in rows or await store.get_run(message.to) is not None
            assert known, f"{message_path(message)} is neither on its way nor delivered"
        for row in rows.values():
            assert (row.worker is None) == (row.leased_us is None), "a lease without owner or time"
    return state, events


def check_budget(state: RunState, definition: Definition) -> None:
    """What is reserved is what open attempts have reserved; nothing is spent that wasn't reserved within the limit.

    No call of the simulation uses more than its bound, so the limit holds to the token.
    """
    reserved = sum(usage.tokens for task in state.tasks.values() for usage in task.reserved.values())
    assert state.reserved.tokens == reserved, "reservations are counted otherwise than they stand"
    limit = limit_of(state, definition, "tokens")
    assert limit is None or state.spent.tokens + state.reserved.tokens <= limit, "overspent"


def check_order(events: list[Event]) -> None:
    """One accepted result per task; nothing after a terminal event but a retry of a failed run."""
    done: Counter[str] = Counter()
    over: Event | None = None
    for event in events:
        if over is not None:
            assert isinstance(over, RunFailed), f"{event.kind} after {over.kind}"
            assert isinstance(event, RunRetried), f"{event.kind} after {over.kind}"
            over = None
        if isinstance(event, TERMINAL):
            over = event
        if isinstance(event, TaskCompleted | TaskSkipped):
            done[event.path] += 1
    twice = [path for path, times in done.items() if times > 1]
    assert not twice, f"accepted twice: {twice}"


async def check_cached(store: MemoryStore, events: list[Event]) -> None:
    """What was taken from the cache is what another run recorded, under the same path and time."""
    for event in events:
        if isinstance(event, TaskCompleted) and event.cached is not None:
            source = event.cached
            recorded = [decode(line) for line in await store.read_journal(source.run, limit=100_000)]
            found = [
                one
                for one in recorded
                if isinstance(one, TaskCompleted) and one.path == source.path and one.at == source.at
            ]
            assert [one.output for one in found] == [event.output], "a cached output that nobody recorded"
            assert found[0].cache_key, "taken from a task that kept nothing"


def check_plans(events: list[Event]) -> None:
    """Nothing of a plan outlives the task that laid it, and nothing of it comes later, but to be taken back."""
    open_tasks: set[str] = set()
    for event in events:
        if isinstance(event, RunStarted | RunRetried):
            open_tasks.update(event.reopened)
        if isinstance(event, TaskScheduled):
            open_tasks.add(event.path)
            owner = event.node.rpartition("/")[0]
            assert not owner or event.compensates or owner in open_tasks, f"{event.path} comes after its plan"
        if isinstance(event, TaskCompleted | TaskSkipped | TaskCancelled | TaskFailed):
            if isinstance(event, TaskFailed) and event.retry_us is not None:
                continue
            open_tasks.discard(event.path)
            left = [path for path in open_tasks if path.startswith(f"{event.path}/")]
            assert not left, f"{event.path} has ended, and {left} of its plan are open"


def check_compensation(state: RunState, events: list[Event]) -> None:
    """Of a run that failed or was cancelled, every visit with a compensation has exactly one, newest first."""
    owed = [
        event.path
        for event in events
        if isinstance(event, TaskCompleted | TaskFailed | TaskCancelled) and event.compensate is not None
    ]
    done = [event.compensates for event in events if isinstance(event, TaskScheduled) and event.compensates]
    if state.status is RunStatus.SUCCEEDED:
        assert not done, "a run that succeeded took something back"
    elif not state.status.live and state.forked_from is None and state.handover is None:
        assert done == list(reversed(owed)), f"owed {owed}, compensated {done}"


def signal_keys(events: list[Event]) -> Counter[str]:
    """How often each signal key was recorded."""
    return Counter(event.key for event in events if isinstance(event, SignalReceived))


def doubts_retried(events: list[Event]) -> Counter[str]:
    """How often a person said "retry" of each task in doubt."""
    return Counter(e.path for e in events if isinstance(e, TaskResolved) and e.action == "retry")
