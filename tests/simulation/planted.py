"""Twelve bugs and more, each planted on purpose: a simulation that doesn't find them proves nothing.

Each is the smallest change that takes one promise back, put in place of the right code while a world is lived through.
"""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orchestrator.engine.attempts.attempt import Attempt
from orchestrator.engine.attempts.context import TaskContext
from orchestrator.engine.runs import actor, delivery
from orchestrator.kernel import handle, joins, runs
from orchestrator.kernel.commands import Command, DeliverSignal, StartTask
from orchestrator.kernel.state import RunState, encode_state
from orchestrator.kernel.tasks import waiting_for_signal
from orchestrator.kernel.turn import Turn
from orchestrator.model.graph import Graph
from orchestrator.stores.contract import Commit, CommitAnswer, Enqueue, Granted, HeartbeatAnswer
from orchestrator.stores.memory import MemoryStore

Plant = Callable[[pytest.MonkeyPatch], None]


def fencing_is_off(patch: pytest.MonkeyPatch) -> None:
    """A worker whose lease is gone may still write."""

    def holds(self: MemoryStore, run: Any, path: str, epoch: int) -> bool:
        return True

    patch.setattr(MemoryStore, "_holds", holds)


def commit_in_two_halves(patch: pytest.MonkeyPatch) -> None:
    """Events first, what they put on the queue afterwards: now and then the process dies in between."""
    right, count = MemoryStore._apply, itertools.count(1)

    def apply(self: MemoryStore, commit: Commit, run: Any, now: int) -> CommitAnswer:
        halved = commit.events and commit.enqueue and next(count) % 9 == 0
        return right(self, msgspec.structs.replace(commit, enqueue=[]) if halved else commit, run, now)

    patch.setattr(MemoryStore, "_apply", apply)


def leases_are_not_renewed(patch: pytest.MonkeyPatch) -> None:
    """The heartbeat is answered, and the registration ends all the same."""
    right = MemoryStore.heartbeat_blocking

    def heartbeat(self: MemoryStore, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        known = self._workers.get(worker)
        answer = right(self, worker, lease_us=lease_us, info=info)
        if known is not None:
            self._workers[worker] = known
        return answer

    patch.setattr(MemoryStore, "heartbeat_blocking", heartbeat)


def a_join_fires_twice(patch: pytest.MonkeyPatch) -> None:
    """It doesn't wait for what can still come."""

    def nothing_feeds(self: Graph, node: str, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
        return frozenset()

    patch.setattr(Graph, "feeders", nothing_feeds)


def a_timer_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """Some of what is due later never gets a row."""
    right, count = MemoryStore._enqueue, itertools.count(1)

    def enqueue(self: MemoryStore, run: Any, wanted: Enqueue, worker: str, now: int) -> Granted | None:
        if wanted.delay_us and next(count) % 5 == 0:
            return None
        return right(self, run, wanted, worker, now)

    patch.setattr(MemoryStore, "_enqueue", enqueue)


def a_late_result_is_accepted(patch: pytest.MonkeyPatch) -> None:
    """Whoever writes last wins: the run's version isn't compared."""
    right = MemoryStore._commit_one

    def commit_one(self: MemoryStore, commit: Commit, now: int) -> CommitAnswer:
        anyway = None if commit.expected else commit.expected
        return right(self, msgspec.structs.replace(commit, expected=anyway), now)

    patch.setattr(MemoryStore, "_commit_one", commit_one)


def a_signal_is_lost(patch: pytest.MonkeyPatch) -> None:
    """One that nobody waits for yet is acknowledged, and forgotten."""
    right = runs.deliver_signal

    def deliver(turn: Turn, command: DeliverSignal) -> None:
        if waiting_for_signal(turn, command.name) is not None or not turn.state.status.live:
            right(turn, command)

    patch.setitem(handle._RULES, DeliverSignal, deliver)


def a_snapshot_lacks_something(patch: pytest.MonkeyPatch) -> None:
    """The signals that nobody has taken yet aren't in it."""

    def encode(state: RunState) -> bytes:
        return encode_state(msgspec.structs.replace(state, signals=[]))

    patch.setattr(actor, "encode_state", encode)


def a_pause_does_not_hold(patch: pytest.MonkeyPatch) -> None:
    """The run says paused, and the queue goes on."""
    right = MemoryStore._apply

    def apply(self: MemoryStore, commit: Commit, run: Any, now: int) -> CommitAnswer:
        return right(self, msgspec.structs.replace(commit, hold=None), run, now)

    patch.setattr(MemoryStore, "_apply", apply)


def an_irreversible_start_is_not_journalled(patch: pytest.MonkeyPatch) -> None:
    """The payment begins, and nothing says so."""
    right = Attempt.record

    async def record(self: Attempt, command: Command, **more: Any) -> Any:
        if isinstance(command, StartTask):
            return None
        return await right(self, command, **more)

    patch.setattr(Attempt, "record", record)


def a_message_between_runs_is_lost(patch: pytest.MonkeyPatch) -> None:
    """It leaves the queue, and nobody has heard it."""

    async def into_the_void(engine: object, message: object) -> None:
        return None

    patch.setattr(delivery, "_hand_over", into_the_void)


def the_idempotency_key_changes(patch: pytest.MonkeyPatch) -> None:
    """Each attempt calls the world under a key of its own."""

    def key(self: TaskContext) -> str:
        return f"{self.run_id}/{self.path}!{self.attempt}"

    patch.setattr(TaskContext, "idempotency_key", property(key))


def a_lost_claim_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    """The answer to a claim was lost, and the heartbeat doesn't tell what the worker owns."""
    right = MemoryStore.heartbeat_blocking

    def heartbeat(self: MemoryStore, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        answer = right(self, worker, lease_us=lease_us, info=info)
        known = [one for one in answer.owned if self._queue[one.run_id, one.path].leased_us == -1]
        return msgspec.structs.replace(answer, owned=known)

    patch.setattr(MemoryStore, "heartbeat_blocking", heartbeat)


def what_ended_while_paused_is_held(patch: pytest.MonkeyPatch) -> None:
    """What such a run still has to tell its parent is never delivered."""
    right = MemoryStore._apply

    def apply(self: MemoryStore, commit: Commit, run: Any, now: int) -> CommitAnswer:
        ended = commit.hold is False and commit.index is not None and not commit.index.live
        return right(self, msgspec.structs.replace(commit, hold=None) if ended else commit, run, now)

    patch.setattr(MemoryStore, "_apply", apply)


def a_plan_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A join doesn't count a node as live that waits for the plan that it laid."""

    def live(state: RunState, graph: Graph, join: str) -> bool:
        waits = {task.node for task in state.tasks.values() if task.block is not None}
        return not graph.feeders(join).isdisjoint(state.live.keys() - waits)

    patch.setattr(joins, "_live_can_come", live)


PLANTS: tuple[Plant, ...] = (
    fencing_is_off,
    commit_in_two_halves,
    leases_are_not_renewed,
    a_join_fires_twice,
    a_timer_is_dropped,
    a_late_result_is_accepted,
    a_signal_is_lost,
    a_snapshot_lacks_something,
    a_pause_does_not_hold,
    an_irreversible_start_is_not_journalled,
    a_message_between_runs_is_lost,
    the_idempotency_key_changes,
    a_lost_claim_is_not_given_back,
    a_plan_is_not_waited_for,
    # These were once real; a world found each of them.
    what_ended_while_paused_is_held,
)
