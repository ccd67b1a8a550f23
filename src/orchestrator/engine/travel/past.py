"""What a run did, task by task, as far as a fork is judged by it: folded from the journal, event by event.

Only a handful of fields is read of each event, and none is asked of its kind that it doesn't have: an event of a kind
that this module has never heard of counts with the cost and the children that it names.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from orchestrator.kernel.state import origin_keys
from orchestrator.kernel.values import NO_ORIGIN, NO_READS, ForkOrigin, Origin, Payload, Plan, Reads, Wait

EFFECTS_ON_THE_WORLD = ("write", "irreversible")


class Spent(msgspec.Struct):
    """What an attempt took; of `Timing` only this is read."""

    usage: dict[str, float] | None = None


class Fact(msgspec.Struct):
    """The fields of an event that matter here; all others are passed over."""

    kind: str
    seq: int
    group: int
    path: str = ""
    node: str = ""
    previous: Origin = NO_ORIGIN
    reads: Reads = NO_READS
    step: str = ""
    name: str = ""
    effect: str = ""
    retry_us: int | None = None
    arrivals: list[str] = []
    output: Payload | None = None
    values: dict[str, Payload] = {}
    outputs: dict[str, Payload] = {}
    action: str = ""
    reopened: list[str] = []
    waits: list[Wait] = []
    usage: dict[str, float] | None = None
    cost_usd: float | None = None
    tokens: int = 0
    timing: Spent | None = None
    forked_from: ForkOrigin | None = None
    plan: Plan | None = None


_decode = msgspec.json.Decoder(Fact).decode

_ENDS = {
    "task_completed": "completed",
    "task_skipped": "skipped",
    "task_failed": "failed",
    "task_cancelled": "cancelled",
}


@dataclass(slots=True)
class Cost:
    """What was recorded as spent."""

    usd: float = 0.0
    usage: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, usd: float | None, usage: Mapping[str, float] | None) -> None:
        """Add what an event recorded."""
        self.usd += usd or 0.0
        for name, value in (usage or {}).items():
            self.usage[name] = self.usage.get(name, 0) + value

    def plus(self, other: "Cost") -> None:
        """Add all of another sum."""
        self.add(other.usd, other.usage)


@dataclass(slots=True, kw_only=True)
class PastStep:
    """A step that began or has its answer: the first event of it that lies behind the cut, or None."""

    name: str
    effect: str
    behind: bool
    answered: bool = True


@dataclass(slots=True, kw_only=True)
class PastTask:
    """One task of the past.

    Attributes:
        scheduled: seq of the event that scheduled it; 0 where that stands in the journal of a parent.
        at_cut, status: how it stood at the cut, and at the end of what there is: None (not there yet), `open`, or how
            it ended.
        ended_group, ended_last: first seq of the group that ended it, and the last one; 0 in the journal of a parent.
        handled: it failed, and another node took over.
        output, variables: what its completion recorded.
        tries: attempts that ended, or are known to have touched the world, by the cut and behind it.
        first_trace: group of the first event that stands on what it read: a step's, or its end's; 1 where that is in
            the journal of a parent, 0 for none.
        children: child runs that it started and that had no answer at the cut: run and workflow by step.
        named, settled: what it spent behind the cut, as its results say, and as its budget was charged. The charge
            counts what the results name too, and is what counts where there is one.
    """

    path: str
    node: str
    scheduled: int
    reads: frozenset[str]
    at_cut: str | None = None
    status: str = "open"
    ended_group: int = 0
    ended_last: int = 0
    handled: bool = False
    output: Payload | None = None
    variables: dict[str, Payload] = field(default_factory=dict[str, Payload])
    tries: int = 0
    tries_at_cut: int = 0
    first_trace: int = 0
    touched: bool = False
    touched_at_cut: bool = False
    steps: dict[str, PastStep] = field(default_factory=dict[str, PastStep])
    children: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    named: Cost = field(default_factory=Cost)
    settled: Cost | None = None

    @property
    def cost(self) -> Cost:
        """What it spent behind the cut."""
        if self.settled is None:
            return self.named
        return Cost(self.settled.usd, self.named.usage or self.settled.usage)

    @property
    def has_run(self) -> bool:
        """Whether its code is known to have run, at the cut or behind it."""
        return self.tries > 0 or self.touched or self.status == "completed"


class Past:
    """The tasks of a run, each as it was at the event `cut` and as it became. `None`: cut at the end."""

    def __init__(self, *, cut: int | None = None) -> None:
        self.tasks: dict[str, PastTask] = {}
        self.plans: dict[str, Plan] = {}
        self.seq = 0
        self.first_end = 0
        self._cut = cut
        self._frozen = cut == 0
        self._prefix = False
        self._values: dict[str, dict[str, Payload]] = {}
        self._last_group = 0
        self._ended_in_group: list[PastTask] = []

    @property
    def cost(self) -> Cost:
        """What all tasks spent behind the cut."""
        total = Cost()
        for task in self.tasks.values():
            total.plus(task.cost)
        return total

    def of_parent(self, lines: Iterable[bytes]) -> None:
        """Fold a part of the journal of the run that this one was forked from; all of it lies before any cut."""
        self._prefix = True
        self._fold(lines)
        self._prefix = False

    def begin_own(self) -> None:
        """From here on come the run's own events, from 1."""
        self.seq = 0
        self._last_group = 0
        self._ended_in_group = []
        for task in self.tasks.values():
            task.scheduled = task.ended_group = task.ended_last = 0
            task.first_trace = min(task.first_trace, 1)

    def extend(self, lines: Iterable[bytes]) -> None:
        """Fold events that follow."""
        self._fold(lines)

    def done(self) -> None:
        """There are no more events."""
        self._freeze()

    def _fold(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            fact = _decode(line)
            behind = not self._prefix and self._cut is not None and fact.seq > self._cut
            if behind:
                self._freeze()
            self.seq = fact.seq
            if fact.group == 1:
                self.first_end = fact.seq
            self._one(fact, behind)

    def _freeze(self) -> None:
        if self._frozen:
            return
        self._frozen = True
        for task in self.tasks.values():
            task.at_cut = task.status
            task.tries_at_cut = task.tries
            task.touched_at_cut = task.touched

    def _one(self, fact: Fact, behind: bool) -> None:
        if fact.group != self._last_group:
            self._last_group = fact.group
            self._ended_in_group = []
            self._values = {}
        for task in self._ended_in_group:
            task.ended_last = fact.seq
        if fact.kind == "task_scheduled":
            self.tasks[fact.path] = PastTask(
                path=fact.path, node=fact.node, scheduled=fact.seq, reads=frozenset(_reads(fact))
            )
            return
        for path in fact.reopened:
            self._reopen(path, behind)
        if fact.kind == "run_patched":
            for path, output in fact.outputs.items():
                if path in self.tasks:
                    self.tasks[path].output = output
        if fact.plan is not None:
            self.plans[fact.path] = fact.plan
        task = self.tasks.get(fact.path)
        if task is not None:
            if behind:
                self._spend(task, fact)
            self._of_task(task, fact, behind)

    def _spend(self, task: PastTask, fact: Fact) -> None:
        if fact.kind == "budget_reserved":
            return  # an upper bound, which is settled later
        if fact.kind == "budget_settled":
            task.settled = task.settled or Cost()
            task.settled.add(fact.cost_usd, {"tokens": fact.tokens} if fact.tokens else None)
            return
        task.named.add(fact.cost_usd, fact.usage or (fact.timing.usage if fact.timing is not None else None))

    def _reopen(self, path: str, behind: bool) -> None:
        task = self.tasks.get(path)
        if task is not None:
            task.status, task.handled, task.ended_group = "open", False, 0
            if not task.steps:
                task.first_trace = 0
            if not behind:
                task.children = {}

    def _of_task(self, task: PastTask, fact: Fact, behind: bool) -> None:
        match fact.kind:
            case "task_started":
                task.touched = True
            case "step_started":
                task.touched = True
                self._step(task, fact, "irreversible", behind, answered=False)
            case "step_recorded":
                self._step(task, fact, fact.effect or "write", behind)
                self._answered(task, fact, behind)
            case "task_resumed":
                self._trace(task, fact)
                self._answered(task, fact, behind)
            case "variables_set":
                self._values[task.path] = fact.values
            case _:
                pass
        for wait in fact.waits:
            if wait.kind == "child" and wait.run is not None and wait.step not in task.steps:
                task.children[wait.step] = (wait.run, wait.workflow or "")
        end = _ENDS.get(fact.kind)
        if end is not None:
            self._end(task, fact, end)

    def _answered(self, task: PastTask, fact: Fact, behind: bool) -> None:
        """A child's answer that is there at the cut is kept; one that came later is asked for again."""
        if not behind:
            task.children.pop(fact.step, None)

    def _end(self, task: PastTask, fact: Fact, end: str) -> None:
        if end in ("completed", "failed"):
            task.tries += 1
            task.touched = False
        if fact.retry_us is not None:
            return
        task.status = end
        task.handled = end == "failed" and bool(fact.arrivals)
        task.ended_group, task.ended_last = (0, 0) if self._prefix else (fact.group, fact.seq)
        self._ended_in_group.append(task)
        self._trace(task, fact)
        if end == "completed":
            task.output = fact.output
            task.variables = self._values.get(task.path, {})

    def _step(self, task: PastTask, fact: Fact, effect: str, behind: bool, *, answered: bool = True) -> None:
        known = task.steps.get(fact.step)
        task.steps[fact.step] = PastStep(
            name=fact.name,
            effect=known.effect if known is not None else effect,
            behind=behind,
            answered=answered,
        )
        self._trace(task, fact)

    def _trace(self, task: PastTask, fact: Fact) -> None:
        if task.first_trace == 0:
            task.first_trace = fact.group


def _reads(fact: Fact) -> Iterator[str]:
    yield from origin_keys(fact.previous)
    yield from fact.reads.nodes.values()
