"""What a run computes ahead of the disk: chains of pure tasks, decided as they come and written together.

A pure task touches nothing, so it may begin before what it builds on is durable. While the actor holds such commands
back, its state is ahead of the store's, and nobody is told: callers, observers and feeds hear of them with the commit
that makes them durable. Any other task begins with a lease, and only a commit gives leases: so everything that it
builds on is durable by then. If the commit is refused, what was computed ahead is thrown away, and the commands that
stand on leases are decided again.

An attempt that runs ahead has no lease, its epoch is 0. What it says counts only while it is known here. If the commit
leaves its task open, the lease that comes with the answer becomes its own.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrator.kernel.events import DecisionMade, Event, TaskCompleted, TaskScheduled, VariablesSet
from orchestrator.stores.contract import Granted

if TYPE_CHECKING:
    from orchestrator.engine.runs.actor import Item

TASKS_MAX = 1_000
SECONDS_MAX = 0.05
"""How far a run may be ahead of the disk: so many tasks, and so long."""

_QUIET = (TaskCompleted, TaskScheduled, DecisionMade, VariablesSet)
"""All that a completion may come to if more is computed before it is written. An end, a failure, an output by
reference, whatever a rule of another kind adds, is written at once."""


class Runner(Protocol):
    """An attempt that runs ahead, as far as the actor knows it."""

    epoch: int

    def lose(self) -> None:
        """End without a word: what it computes counts for nothing."""
        ...

    def adopt(self, epoch: int) -> bool:
        """From now on it stands on a lease. False: it has ended without a word, and the lease is for another."""
        ...


class Ahead:
    """The commands of one run that were decided and not yet sent, and the attempts that run without a lease."""

    __slots__ = ("_events", "_slots", "_timer", "held", "runners", "used")

    def __init__(self) -> None:
        self.held: list[Item] = []
        """What was decided and is not on its way to the store."""
        self.runners: dict[str, Runner] = {}
        """The attempts without a lease, by path."""
        self._events: list[Event] = []
        self._slots = 0
        self.used = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def slots(self) -> int:
        """How many of the tasks whose results are kept still count as running with the worker, until it is durable."""
        return self._slots

    @property
    def spent(self) -> bool:
        """The time is up, or there is no room for more."""
        late = self._timer is not None and self._timer.when() <= self._timer_now()
        return late or len(self.held) >= TASKS_MAX

    def _timer_now(self) -> float:
        return asyncio.get_running_loop().time()

    def hold(
        self, items: Sequence["Item"], events: Sequence[Event], timer: asyncio.TimerHandle | None
    ) -> None:
        """Keep what was decided; `timer` will come when it must be written."""
        self.held.extend(items)
        self._events.extend(events)
        self._slots += sum(1 for item in items if item.epoch)
        if timer is not None:
            self._timer = timer

    def take(self) -> tuple[list["Item"], list[Event]]:
        """All that was kept, in order, to be written now. What runs ahead goes on."""
        taken = self.held, self._events
        self.held, self._events, self._slots = [], [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return taken

    def started(self, path: str, runner: Runner) -> None:
        """It runs without a lease."""
        self.runners[path] = runner
        self.used = True

    def counts(self, item: "Item") -> bool:
        """Whether the command may be decided: it stands on a lease or on none, or its attempt is still known here."""
        if item.path is None or item.epoch:
            return True
        return item.attempt is not None and self.runners.get(item.path) is item.attempt

    def said(self, item: "Item") -> None:
        """The last word of an attempt was decided."""
        if item.finish and item.path is not None:
            self.runners.pop(item.path, None)

    def is_running(self, path: str) -> bool:
        """Whether the task at this path runs without a lease."""
        return path in self.runners

    def adopt(self, leases: Sequence[Granted], waiting: Sequence["Item"]) -> Sequence[Granted]:
        """The commit is durable: give its leases to what runs ahead, and end what got none. Gives the other leases."""
        if not self.runners:
            return leases
        others: list[Granted] = []
        for lease in leases:
            runner = self.runners.pop(lease.path, None)
            if runner is None or not runner.adopt(lease.epoch):
                others.append(lease)
                continue
            for item in waiting:
                if item.attempt is runner:
                    item.epoch = lease.epoch
        self.lose()
        return others

    def lose(self) -> None:
        """Whatever runs ahead counts for nothing any more."""
        runners, self.runners = self.runners, {}
        for runner in runners.values():
            runner.lose()


def following(events: Sequence[Event]) -> list[str] | None:
    """The tasks that these events make ready; None if something happened that is to be written at once."""
    paths: list[str] = []
    for event in events:
        if not isinstance(event, _QUIET):
            return None
        if isinstance(event, TaskCompleted) and not event.output.inline:
            return None  # who reads it asks the store for it
        if isinstance(event, TaskScheduled):
            paths.append(event.path)
    return paths
