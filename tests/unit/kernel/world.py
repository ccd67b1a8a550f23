"""A run made by the kernel alone, with a model of the world beside it, and every invariant checked at every commit.

The world is what the engine and the store are to a run: a queue of rows (one for each path, with an epoch), a hold,
child runs, a clock. What a worker may do is decided by the rows, never by a look into the state: so a row that is
missing shows as a run that stands still.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from orchestrator.errors import Conflict, LimitExceeded
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel.apply import apply
from orchestrator.kernel.blocks import is_over
from orchestrator.kernel.budgets import limit_of
from orchestrator.kernel.handle import handle, needs_output
from orchestrator.kernel.messages import AnyMessage, CancelChild, ChildEnded, StartChild, StartSuccessor
from orchestrator.kernel.outlook import (
    BUDGET,
    GRACE,
    expected_rows,
    next_budget_row,
    open_messages,
    row_of,
    wakers_of,
    work_of,
)
from orchestrator.kernel.state import (
    Items,
    RunState,
    TaskState,
    decode_state,
    encode_state,
    origin_keys,
    read_keys,
)
from orchestrator.kernel.status import RunStatus, TaskStatus
from orchestrator.kernel.values import ErrorInfo, Payload, Plan, Timing, Wait, rfc3339
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.definition import Definition, NodeDefinition, compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.grafts import PlanRecord, block_of, grafted

START_US = 1_795_363_200_000_000  # 2026-11-22T16:00:00Z
SECOND = 1_000_000

DECLARATIONS = {
    d.name: d
    for d in (
        ClassDeclaration(name="Plain"),
        ClassDeclaration(name="Pay", effect=Effect.IRREVERSIBLE),
        ClassDeclaration(name="Choose", routes=("left", "right")),
        ClassDeclaration(name="Agent", routes=("*",)),
    )
}

ENDS_ITS_ROW = (
    c.StartItems,
    c.CompleteTask,
    c.FailTask,
    c.SkipTask,
    c.SuspendTask,
    c.FireTimer,
    c.AbandonTask,
    c.DoubtTask,
    c.Deadline,
)
"""Commands that stand on a lease and finish it with their commit."""


def definition_of(nodes: Mapping[str, Any], **settings: Any) -> Definition:
    written = {node: {"class": "Plain", **fields} for node, fields in nodes.items()}
    start = next(iter(nodes))
    document = WorkflowDocument.model_validate(
        {"name": "flow", "start_at": start, "nodes": written, **settings}
    )
    return compile_definition(document, DECLARATIONS)


def payload(value: Any) -> Payload:
    return Payload(value=msgspec.Raw(msgspec.json.encode(value)))


def value_of(held: Payload | None) -> Any:
    assert held is not None
    return msgspec.json.decode(held.value)


def error(kind: str = "Oops", *, retryable: bool = False) -> ErrorInfo:
    return ErrorInfo(type=kind, message=f"{kind} happened", retryable=retryable)


@dataclass(slots=True)
class QueueRow:
    timer: bool
    due_us: int
    epoch: int


class World:
    """One run and what surrounds it. `do` is one commit; `check` holds all invariants to it."""

    def __init__(self, definition: Definition, *, checked: bool = True) -> None:
        self.definition = definition
        self.checked = checked
        self.state = RunState()
        self.base = encode_state(self.state)
        self.shadow = RunState()
        self.events: list[e.Event] = []
        self.journal: list[bytes] = []
        self.now_us = START_US
        self.rows: dict[str, QueueRow] = {}
        self.epochs = 0
        self.held = False
        self.children: dict[str, StartChild] = {}
        self.ended_children: set[str] = set()
        self.messages: list[AnyMessage] = []
        self.output_error: ErrorInfo | None = None
        self.overdrawn = 0

    # --- one commit -------------------------------------------------------------------------------------------------

    def do(self, *commands: c.Command, after_us: int = 1_000) -> list[e.Event]:
        """Carry the commands out as one commit of the engine; a refusal of the only one is raised."""
        self.now_us += after_us
        events: list[e.Event] = []
        leases: list[tuple[str, int]] = []
        refused: list[tuple[str, int]] = []
        early: list[c.Deadline | c.FireTimer] = []
        for command in commands:
            lease = self._lease_of(command)
            try:
                own = self._handle(command)
                events += own
            except (Conflict, LimitExceeded) as refusal:
                if lease is not None and isinstance(refusal, Conflict):
                    refused.append(lease)
                if len(commands) == 1:
                    self._drop(refused)
                    raise
            else:
                leases += [lease] if lease is not None else []
                if not own and isinstance(command, c.Deadline | c.FireTimer):
                    early.append(command)
                if isinstance(command, c.FinishChild) and self.children.pop(command.run, None) is not None:
                    self.ended_children.add(command.run)
        if events and needs_output(self.state, self.definition):
            finish = c.FinishRun(
                output=None if self.output_error else payload("the output"), error=self.output_error
            )
            events += self._handle(finish)
        self._drop(leases)
        self._commit(events)
        self._drop(refused)
        for command in early:
            self._set_timer_again(command)
        if self.checked:
            self.check()
        return events

    def _lease_of(self, command: c.Command) -> tuple[str, int] | None:
        if not isinstance(command, ENDS_ITS_ROW):
            return None
        path = f"#{command.timer}" if isinstance(command, c.Deadline) else command.path
        row = self.rows.get(path)
        return (path, row.epoch) if row is not None else None

    def _handle(self, command: c.Command) -> list[e.Event]:
        """The kernel's answer, with what must hold of any answer."""
        before = encode_state(self.state)
        was, seq = self.state.status, self.state.seq
        try:
            events = handle(self.state, command, now_us=self.now_us, definition=self.definition)
        except (Conflict, LimitExceeded):
            assert encode_state(self.state) == before, "a refused command changed the state"
            raise
        if not self.checked:
            self.events += events
            return events
        again = handle(decode_state(before), command, now_us=self.now_us, definition=self.definition)
        lines = [e.encode(event) for event in events]
        assert [e.encode(event) for event in again] == lines, "the same command gave other events"
        assert [event.seq for event in events] == list(range(seq + 1, seq + 1 + len(events)))
        assert {event.group for event in events} <= {seq + 1}
        assert {event.at for event in events} <= {rfc3339(self.now_us)}
        if not was.live and events and seq and not isinstance(events[0], e.DataErased):
            assert was is RunStatus.FAILED, f"something followed on the end of a run that is {was.value}"
            assert isinstance(events[0], e.RunRetried)
        state = decode_state(before)
        for event in events:
            if isinstance(event, e.BudgetSettled) and not event.lost:
                task = state.tasks.get(event.path)
                bound = task.reserved.get(event.step) if task is not None else None
                self.overdrawn += max(0, event.tokens - (bound.tokens if bound is not None else 0))
        for line in lines:
            apply(self.shadow, e.decode(line))
        self.events += events
        self.journal += lines
        return events

    def _commit(self, events: Sequence[e.Event]) -> None:
        work = work_of(events, self.state, self.definition)
        for path in work.withdraw:
            self.rows.pop(path, None)
        if work.hold is not None:
            self.held = work.hold
        for row in work.rows:
            self._enqueue(row.path, timer=row.timer, due_us=row.due_us)
        for message in work.messages:
            self.messages.append(message)
            if isinstance(message, StartChild):
                assert message.to not in self.ended_children, "a child is started again after its end"
                self.children[message.to] = message
            elif isinstance(message, StartSuccessor):
                assert self.state.handover is not None
                assert message.to == self.state.handover.run
            elif isinstance(message, CancelChild):
                self.children.pop(message.to, None)
                self.ended_children.add(message.to)

    def _enqueue(self, path: str, *, timer: bool, due_us: int) -> None:
        self.epochs += 1
        self.rows[path] = QueueRow(timer, due_us, self.epochs)

    def _drop(self, leases: Sequence[tuple[str, int]]) -> None:
        for path, epoch in leases:
            row = self.rows.get(path)
            if row is not None and row.epoch == epoch:
                del self.rows[path]

    def _set_timer_again(self, command: c.Deadline | c.FireTimer) -> None:
        """What the worker does where a timer came and nothing was due."""
        if isinstance(command, c.Deadline) and command.timer == "budget":
            row = next_budget_row(self.state, self.definition, self.now_us)
        elif isinstance(command, c.Deadline):
            rows = expected_rows(self.state, self.definition)
            row = next((row for row in rows if row.path == GRACE), None)
        else:
            task = self.state.tasks.get(command.path)
            row = row_of(task) if task is not None else None
        if row is not None and row.timer and row.path not in self.rows:
            self._enqueue(row.path, timer=True, due_us=row.due_us)

    # --- invariants -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        state = self.state
        encoded = encode_state(state)
        assert encode_state(self.shadow) == encoded, "the fold of the journal is another state"
        assert encode_state(decode_state(encoded)) == encoded, "a snapshot is read as another state"
        self.check_values()
        counts = state.counts
        over = counts.completed + counts.failed + counts.skipped + counts.cancelled
        assert counts.total == len(state.tasks) + over
        assert state.ready == sum(task.status is TaskStatus.READY for task in state.tasks.values())
        assert state.live == Counter(task.node for task in state.tasks.values())
        assert not state.tasks.keys() & state.set_aside.keys()
        late = [task.late for task in state.tasks.values()]
        late += [arrival.late for arrivals in state.arrivals.values() for arrival in arrivals]
        assert state.late == Counter(join for joins in late for join in joins)
        assert all(len(joins) == len(set(joins)) for joins in late)
        assert not set(state.held_back) - state.arrivals.keys()
        for task in (*state.tasks.values(), *state.set_aside.values()):
            if task.items is not None:
                self.check_items(task, task.items)
        if state.status.live:
            assert state.seq == 0 or wakers_of(state), "a live run without a waker"
            assert self.held is state.held, "the queue's hold isn't the run's pause"
        else:
            assert not wakers_of(state)
            assert not state.tasks
            assert state.ending is None
        self.check_compensation()
        self.check_plans()
        if state.handover is not None and state.status.live:
            left = [*state.tasks, *state.arrivals, *state.set_aside]
            assert not left, "a run hands over what it is at"
        self.check_budget()
        self.check_rows()

    def check_compensation(self) -> None:
        """Once it has begun nothing else runs, one at a time, and nothing is lost or done twice."""
        state = self.state
        begun = state.compensation
        if begun is None:
            assert not any(task.compensates for task in state.tasks.values())
            return
        assert all(task.compensates is not None for task in state.tasks.values())
        assert len(state.tasks) <= 1, "two compensations at once"
        done = begun.completed + begun.failed
        assert done + len(state.undo) + len(state.tasks) == begun.total

    def check_plans(self) -> None:
        """What is open in a block has its task open around it; a task that waits for its block has something there."""
        state = self.state
        of_blocks = (t for t in state.tasks.values() if t.compensates is None and block_of(t.node))
        live = Counter(block_of(task.node) for task in of_blocks)
        assert live.keys() <= state.tasks.keys(), "what is live in a plan has lost the task that laid it"
        for task in (*state.tasks.values(), *state.set_aside.values()):
            if task.block is None:
                continue
            assert task.block.open == live[task.path]
            assert task.path in state.plans
            if task.status is TaskStatus.WAITING and not task.block.done:
                assert not is_over(state, task), f"{task.path} waits for a plan that is done"
                assert task.block.open or "tasks" in state.spent_out, (
                    f"nothing is live in the plan of {task.path}"
                )
        around = {*state.tasks, *state.set_aside}
        for table in (state.sinks, state.arrivals):
            assert {block_of(node) for node in table if block_of(node)} <= around, "a block left something"
        for path, plan in state.plans.items():
            assert path in around or plan.compensates, "a plan is kept that nobody needs"
        kept = {block_of(node) for table in (state.latest, state.visits) for node in table}
        assert kept - {""} <= state.plans.keys()

    def check_budget(self) -> None:
        """What is reserved is what open attempts have reserved, and spending stays within a call of the limit."""
        state = self.state
        open_reservations = [usage for task in state.tasks.values() for usage in task.reserved.values()]
        assert state.reserved.tokens == sum(usage.tokens for usage in open_reservations)
        assert state.reserved.nano_usd == sum(usage.nano_usd for usage in open_reservations)
        for task in (*state.tasks.values(), *state.set_aside.values()):
            assert not task.reserved or task.status is TaskStatus.READY, "a reservation without an attempt"
        limit = limit_of(state, self.definition, "tokens")
        if limit is not None and state.compensation is None:
            assert state.spent.tokens + state.reserved.tokens <= limit + self.overdrawn, "overspent"

    def check_items(self, task: TaskState, items: Items) -> None:
        """Its items are done, open, or not scheduled yet; an open node has a full window."""
        rule = self.node(task.node).for_each
        assert rule is not None
        assert items.done + items.withdrawn + len(items.open) == items.next <= items.count
        assert len(items.open) <= rule.max_parallel
        aside = task.path in self.state.set_aside
        for place in items.open:
            path = f"{task.path}[{place}]"
            assert path in self.state.tasks or (aside and path in self.state.set_aside)
        if not aside and self.state.ending is None and "tasks" not in self.state.spent_out:
            assert items.open, "a node waits for items that nobody runs"
            assert len(items.open) == min(rule.max_parallel, items.count - items.done - items.withdrawn)

    def check_values(self) -> None:
        """Every value has exactly the readers that can be found, and none is kept without one."""
        state = self.state
        readers: Counter[str] = Counter()
        for table in (state.latest, state.sinks, state.variables):
            readers.update(table.values())
        for arrivals in state.arrivals.values():
            for arrival in arrivals:
                readers.update(origin_keys(arrival.origin))
        readers.update(undo.path for undo in state.undo)
        for task in (*state.tasks.values(), *state.set_aside.values()):
            readers.update(read_keys(task))
        assert {key: held.readers for key, held in state.values.items()} == readers

    def check_rows(self) -> None:
        """The queue holds exactly the rows that the state asks for, and awaited children are known."""
        expected = {row.path: row for row in expected_rows(self.state, self.definition)}
        assert self.rows.keys() == expected.keys()
        for path, row in expected.items():
            assert self.rows[path].timer is row.timer, path
            if path != BUDGET:
                assert self.rows[path].due_us == row.due_us, path
        assert {m.to for m in open_messages(self.state) if isinstance(m, StartChild)} <= self.children.keys()
        for task in self.state.tasks.values():
            for wait in task.waits.values():
                if wait.kind == "child":
                    assert wait.run in self.children, "a task waits for a child that nobody starts"

    def node(self, node: str) -> NodeDefinition:
        """A node of the version or of a plan."""
        return grafted(self.definition, self.state.plans).nodes[node]

    # --- short words for examples -----------------------------------------------------------------------------------

    def timing(self) -> Timing:
        at = rfc3339(self.now_us)
        return Timing(worker="w1", queued_at=at, started_at=at)

    def complete(
        self, path: str, output: Any = None, *, route: Sequence[str] | None = None, **more: Any
    ) -> list[e.Event]:
        choice = None if route is None else c.RouteChoice(targets=tuple(route), reason="because")
        value = payload(path if output is None else output)
        return self.do(c.CompleteTask(path=path, output=value, route=choice, timing=self.timing(), **more))

    def fail(self, path: str, kind: str = "Oops", *, retryable: bool = False, **more: Any) -> list[e.Event]:
        return self.do(
            c.FailTask(path=path, error=error(kind, retryable=retryable), timing=self.timing(), **more)
        )

    def lay(self, path: str, plan: Plan, *, reason: str | None = None) -> list[e.Event]:
        """The task lays a plan."""
        command = c.CompleteTask(
            path=path, output=payload(None), plan=plan, plan_reason=reason, timing=self.timing()
        )
        return self.do(command)

    def skip(self, path: str) -> list[e.Event]:
        return self.do(c.SkipTask(path=path))

    def suspend(self, path: str, *waits: Wait) -> list[e.Event]:
        return self.do(c.SuspendTask(path=path, waits=waits))

    def signal(self, name: str, value: Any = None, *, key: str | None = None) -> list[e.Event]:
        known = key if key is not None else f"k{self.state.seq}"
        return self.do(c.DeliverSignal(name=name, payload=payload(value), key=known))

    def finish_child(self, run: str, *, output: Any = None, failed: ErrorInfo | None = None) -> list[e.Event]:
        parent = self.children[run].parent
        result = payload(output) if failed is None else None
        return self.do(
            c.FinishChild(run=run, path=parent.path, step=parent.step, output=result, error=failed)
        )

    def refused(self, command: c.Command, reason: str) -> None:
        """The command is refused for this reason."""
        with pytest.raises(Conflict) as refusal:
            self.do(command)
        assert refusal.value.reason == reason

    @property
    def open(self) -> list[str]:
        """Paths of open tasks."""
        return list(self.state.tasks)

    @property
    def waiting_joins(self) -> list[str]:
        return list(self.state.arrivals)

    def previous(self, path: str) -> Any:
        """What `previous` is to an open task, as a node sees it."""
        return self._render(self.state.tasks[path].previous)

    def _render(self, origin: Any) -> Any:
        if origin.sources is not None:
            found = {node: [self._render(one) for one in several] for node, several in origin.sources.items()}
            return {node: several[0] if len(several) == 1 else several for node, several in found.items()}
        return None if origin.path is None else value_of(self.state.payload(origin.path))

    def visits(self) -> dict[str, int]:
        return dict(self.state.visits)

    def last(self, kind: type[e.Event]) -> Any:
        return next(event for event in reversed(self.events) if type(event) is kind)

    def fork(self, *, seq: int | None = None, definition: Definition | None = None, **more: Any) -> "World":
        """Another run that continues the state at `seq`, the end of a group (now, if left out)."""
        cut = self.state.seq if seq is None else seq
        state = self.state_at(cut)
        state.seq = 0
        fork = World(definition or self.definition, checked=self.checked)
        fork.now_us, fork.overdrawn = self.now_us, self.overdrawn
        fork.state, fork.base = state, encode_state(state)
        fork.shadow = decode_state(fork.base)
        fork.do(c.ForkRun(run_id=f"{self.state.run_id}-fork", parent_run=self.state.run_id, seq=cut, **more))
        return fork

    def state_at(self, seq: int) -> RunState:
        state = decode_state(self.base)
        for line in self.journal[:seq]:
            apply(state, e.decode(line))
        return state

    def group_ends(self) -> list[int]:
        """The seqs at which a fork may cut."""
        pairs = zip(self.events, self.events[1:], strict=False)
        return [a.seq for a, b in pairs if a.group != b.group] + [self.events[-1].seq]


def plan_of(nodes: Mapping[str, Any], **settings: Any) -> Plan:
    """A plan of these nodes; `class` is Plain where it is left out."""
    written = {node: {"class": "Plain", **fields} for node, fields in nodes.items()}
    start_at = next(iter(nodes))
    document = {"start_at": start_at, "nodes": written, **settings}
    return Plan(
        record=msgspec.Raw(msgspec.json.encode(PlanRecord(document=document, declarations=DECLARATIONS))),
        start_at=start_at,
        nodes=list(nodes),
        output="output" in settings,
        compensates=any("compensate" in fields for fields in nodes.values()),
    )


def started(definition: Definition, *, checked: bool = True, input: Any = None, **more: Any) -> World:
    world = World(definition, checked=checked)
    world.do(c.StartRun(run_id="run_1", workflow="flow", version=1, input=payload(input), **more))
    return world


def run_of(nodes: Mapping[str, Any], **settings: Any) -> World:
    """A started run of these nodes; `class` is Plain where it is left out."""
    return started(definition_of(nodes, **settings))


def timer(due_us: int, step: str = "sleep") -> Wait:
    return Wait(step=step, kind="timer", due_us=due_us)


def signal(name: str, step: str | None = None, *, due_us: int | None = None) -> Wait:
    return Wait(step=step or f"signal:{name}", kind="signal", name=name, due_us=due_us)


def child(run: str, step: str = "child", *, workflow: str = "other") -> Wait:
    return Wait(step=step, kind="child", run=run, workflow=workflow, input=payload({"n": 1}))


def ended_messages(messages: Sequence[AnyMessage]) -> Iterator[ChildEnded]:
    return (message for message in messages if isinstance(message, ChildEnded))
