"""Any workflow, any commands, any interleaving: what holds of every run (RELIABILITY, kernel properties).

The invariants themselves stand in `World.check`. Here the worlds are drawn: graphs that nobody would draw on purpose,
a worker that does everything a worker can do, and people who press every button. At the end everybody behaves, and the
run must come to its end by what the queue holds alone: that no run stands still is tested, not assumed.
"""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import Conflict, LimitExceeded
from orchestrator.kernel import commands as c
from orchestrator.kernel import events as e
from orchestrator.kernel import status
from orchestrator.kernel.budgets import limit_of
from orchestrator.kernel.compensation import is_stopped
from orchestrator.kernel.state import RunState, encode_state
from orchestrator.kernel.status import RUN_MOVES, TASK_MOVES, RunStatus, TaskStatus
from orchestrator.kernel.values import NULL, Handover, ItemChunk, Plan, Usage, Wait
from orchestrator.model.definition import Definition
from orchestrator.model.grafts import grafted
from tests.unit.kernel.world import (
    SECOND,
    World,
    child,
    definition_of,
    error,
    payload,
    plan_of,
    signal,
    started,
    timer,
)

SEEDS = 4_000 if settings.get_current_profile_name() == "fuzz" else 300
COMMANDS = 60
DRAIN_MAX = 3_000

REFUSALS = {
    "compensating",
    "budget_not_raised",
    "budget_spent",
    "no_budget",
    "not_finishing",
    "route_needed",
    "run_continued",
    "run_exists",
    "run_not_failed",
    "run_over",
    "stopping",
    "task_not_in_doubt",
    "task_not_open",
    "task_not_ready",
    "unknown_resolution",
}
"""Reasons that random runs must meet; the others have an example each."""


class Seen:
    """What was reached, over all runs of this module."""

    def __init__(self) -> None:
        self.kinds: Counter[type[e.Event]] = Counter()
        self.statuses: Counter[RunStatus] = Counter()
        self.run_moves: set[tuple[RunStatus, RunStatus]] = set()
        self.task_moves: set[tuple[TaskStatus, TaskStatus]] = set()
        self.refusals: Counter[str] = Counter()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(autouse=True)
def moves_are_noted(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes every move that `apply` makes; the tables are checked as always."""
    run_check, task_check = status.check_run_move, status.check_task_move

    def run_move(old: RunStatus, new: RunStatus) -> None:
        run_check(old, new)
        if old is not new:
            seen.run_moves.add((old, new))

    def task_move(old: TaskStatus, new: TaskStatus) -> None:
        task_check(old, new)
        seen.task_moves.add((old, new))

    monkeypatch.setattr("orchestrator.kernel.apply.check_run_move", run_move)
    monkeypatch.setattr("orchestrator.kernel.apply.check_task_move", task_move)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def draw_definition(rng: random.Random, *, pauses: bool = True) -> Definition:
    """A graph without any manners: loops with several entries, joins anywhere, agents that may go everywhere."""
    names = [f"n{i}" for i in range(rng.randint(1, 7))]
    nodes = {name: draw_node(rng, names) for name in names}
    if rng.random() < 0.5:
        undo = [f"undo{i}" for i in range(rng.randint(1, 2))]
        for name in rng.sample(names, rng.randint(1, len(names))):
            nodes[name]["compensate"] = rng.choice(undo)
        nodes |= {name: draw_compensation(rng) for name in undo}
    more: dict[str, Any] = {"vars": {"x": 1}, "budget": {"tasks": rng.choice([3, 12, 40])}}
    if rng.random() < 0.3:
        more["budget"]["duration"] = rng.choice([1, 30, 600])
    if rng.random() < 0.5:
        more["budget"] |= {"tokens": rng.choice([10, 50]), "cost_usd": rng.choice([0.5, 5.0])}
    if rng.random() < 0.6:
        more["budget"]["on_exceeded"] = rng.choice(["fail", "pause"] if pauses else ["fail"])
    if rng.random() < 0.3:
        more["output"] = "{{ vars.x }}"
    if rng.random() < 0.4:
        more["on_failure"] = "finish_branches"
    return definition_of(nodes, **more)


def draw_node(rng: random.Random, names: list[str]) -> dict[str, Any]:
    some = rng.sample(names, rng.randint(1, min(3, len(names))))
    node: dict[str, Any] = {"class": rng.choice(["Plain", "Plain", "Pay", "Agent", "Choose"])}
    if rng.random() < 0.75:
        node["next_node"] = rng.choice(
            [rng.choice(names), some, {"left": rng.choice(names), "*": some}, {"left": rng.choice(names)}]
        )
    if node["class"] == "Choose":
        node["routes"] = some
    if rng.random() < 0.3:
        node["on_doubt"] = rng.choice(["ask", "retry", "skip", "fail"])
    if rng.random() < 0.25:
        node["on_error"] = rng.choice([rng.choice(names), {"Oops": rng.choice(names)}])
    if rng.random() < 0.35:
        count = rng.choice([1, 2, 2, 3])
        node["join"] = rng.choice(
            ["any", "each", "one_of_each", count, {"count": count, "rest": "cancel"}, {"count": count}]
        )
    if rng.random() < 0.1:
        node["cancels"] = some
    if rng.random() < 0.4:
        node["retry"] = {"max_attempts": rng.randint(1, 3), "initial": rng.choice([0, 5])}
    if rng.random() < 0.25:
        node["for_each"] = "{{ input }}"
        node["max_parallel"] = rng.randint(1, 3)
        node["on_item_error"] = rng.choice(["fail", "collect"])
        node["complete_when"] = rng.choice([None, None, 1, 3])
    if rng.random() < 0.5:
        node["params"] = {
            "a": "{{ vars.x | default(0) }}",
            "b": f"{{{{ nodes.{rng.choice(names)} | default(0) }}}}",
        }
    return node


def draw_plan(rng: random.Random) -> Plan:
    names = [f"n{i}" for i in range(rng.randint(1, 4))]
    nodes = {name: draw_node(rng, names) for name in names}
    if rng.random() < 0.3:
        for name in rng.sample(names, rng.randint(1, len(names))):
            nodes[name]["compensate"] = "undo0"
        nodes["undo0"] = draw_compensation(rng)
    return plan_of(nodes, **({"output": "{{ nodes.n0 | default(1) }}"} if rng.random() < 0.3 else {}))


def draw_compensation(rng: random.Random) -> dict[str, Any]:
    return {
        "class": rng.choice(["Plain", "Pay"]),
        "retry": {"max_attempts": rng.randint(1, 2), "initial": rng.choice([0, 5])},
    }


class Day:
    """A run's day: everything that can happen to it, one random thing after the other."""

    def __init__(self, rng: random.Random, seen: Seen) -> None:
        self.rng = rng
        self.seen = seen
        self.world = self.new_run()
        self.number = 0

    # --- people and time ------------------------------------------------------------------------------------------

    def anything(self) -> None:
        roll = self.rng.random()
        status = self.world.state.status
        if not status.live and roll < 0.8:
            self.go_on_after_the_end()
        elif roll < 0.62:
            self.attempt([self.work()])
        elif roll < 0.68:
            self.attempt([self.work(), self.work(), self.asked()])
        elif roll < 0.90:
            self.attempt([self.asked()])
        elif roll < 0.93:
            self.fork()
        else:
            self.attempt([self.nonsense()])

    def go_on_after_the_end(self) -> None:
        """Retry what failed; else a fork, or the next run."""
        if self.world.state.status is RunStatus.FAILED and self.rng.random() < 0.5:
            self.attempt([c.RetryRun()])
        elif self.rng.random() < 0.3:
            self.fork()
        else:
            self.seen.kinds.update(type(event) for event in self.world.do(c.EraseRun(), c.EraseRun()))
            self.world = self.new_run()

    def new_run(self) -> World:
        return started(draw_definition(self.rng), variables={"x": payload(0)})

    def attempt(self, commands: list[c.Command | None]) -> None:
        """Refusals are part of the day."""
        known = [command for command in commands if command is not None]
        if not known:
            self.world.now_us += self.rng.choice([1_000, 6 * SECOND, 40 * SECOND])
            return
        self.world.output_error = error("BadOutput") if self.rng.random() < 0.3 else None
        try:
            events = self.world.do(*known, after_us=self.rng.choice([0, 1_000, 2 * SECOND]))
        except (Conflict, LimitExceeded) as refusal:
            self.seen.refusals[refusal.reason if isinstance(refusal, Conflict) else refusal.limit] += 1
        else:
            self.seen.kinds.update(type(event) for event in events)
            self.seen.statuses[self.world.state.status] += 1

    def fork(self) -> None:
        world, rng = self.world, self.rng
        cut = rng.choice(world.group_ends())
        before = encode_state(world.state)
        patch = {"x": payload(f"patched {cut}")} if rng.random() < 0.5 else {}
        at = world.state_at(cut)
        known = [*at.tasks, *at.set_aside, *(path for path in at.latest.values() if rng.random() < 0.5)]
        patches = {path: self.patch(at, path) for path in known if rng.random() < 0.3}
        try:
            fork = world.fork(seq=cut, variables=patch, patches=patches)
        except Conflict as refusal:
            self.seen.refusals[refusal.reason] += 1
            return
        self.seen.kinds.update(type(event) for event in fork.events)
        assert encode_state(world.state) == before, "a fork changed its parent"
        if rng.random() < 0.5:
            self.world = fork

    def patch(self, at: RunState, path: str) -> c.TaskPatch:
        """Another result of a task; of an open one that decides another way too."""
        task = at.tasks.get(path) or at.set_aside.get(path)
        route: c.RouteChoice | None = None
        variables: dict[str, Any] = {}
        if task is not None:
            node = grafted(self.world.definition, at.plans).nodes[task.node]
            variables = {"x": payload("given")} if self.rng.random() < 0.3 else {}
            if node.decides:
                targets = self.rng.sample(list(node.allowed), min(1, len(node.allowed)))
                route = c.RouteChoice(targets=tuple(targets), by="person")
        return c.TaskPatch(output=payload(f"given for {path}"), route=route, variables=variables)

    def asked(self) -> c.Command:
        world, rng = self.world, self.rng
        self.number += 1
        doubts = [t.path for t in world.state.tasks.values() if t.status is TaskStatus.IN_DOUBT]
        ended = rng.choice([None, *world.children])
        touched = [t for t in world.state.tasks.values() if t.touched]
        if touched and rng.random() < 0.2:
            task = rng.choice(touched)
            step = task.open_step.step if task.open_step is not None else None
            attempt = task.attempt - (rng.random() < 0.2)
            return c.NoteLate(path=task.path, attempt=attempt, result=payload("late"), step=step)
        if doubts and rng.random() < 0.5:
            action = rng.choice(["done", "retry", "skip", "fail", "forget"])
            return c.ResolveTask(path=rng.choice(doubts), action=action, output=payload("resolved"))
        if ended is not None and rng.random() < 0.6:
            return self.child_ends(ended)
        if world.state.handover is not None and rng.random() < 0.5:
            return self.successor_exists()
        kinds = (
            ["signal"] * 5
            + ["pause", "pause", "resume", "resume", "resume", "retry", "retry"]
            + ["raise"] * 2
        )
        match rng.choice(kinds if rng.random() < 0.93 else ["cancel"]):
            case "signal":
                key = f"k{rng.randint(0, self.number)}"
                return c.DeliverSignal(name=rng.choice("ab"), payload=payload(self.number), key=key)
            case "pause":
                return c.PauseRun()
            case "resume":
                return c.ResumeRun()
            case "raise":
                return self.top_up(rng.choice(["tasks", "duration", "tokens", "cost_usd"]))
            case "retry":
                return c.RetryRun()
            case _:
                return c.CancelRun(reason="enough")

    def successor_exists(self) -> c.Command:
        handover = self.world.state.handover
        assert handover is not None
        failed = error("NoSuccessor") if self.rng.random() < 0.2 else None
        return c.FinishHandover(run=handover.run, error=failed)

    def top_up(self, budget: str) -> c.Command:
        limit = limit_of(self.world.state, self.world.definition, budget) or 0
        more = self.rng.choice([-1, 0, 1, 1]) * {"tasks": 3, "duration": 30 * SECOND, "tokens": 30}.get(
            budget, 2
        )
        return c.RaiseBudget(limits={budget: limit + more})

    def child_ends(self, run: str) -> c.Command:
        parent = self.world.children[run].parent
        failed = error("ChildError") if self.rng.random() < 0.3 else None
        output = payload("from the child") if failed is None else None
        return c.FinishChild(run=run, path=parent.path, step=parent.step, output=output, error=failed)

    def nonsense(self) -> c.Command:
        """Late, repeated and impossible commands."""
        state, rng = self.world.state, self.rng
        doubts = [task.path for task in state.tasks.values() if task.status is TaskStatus.IN_DOUBT]
        if doubts and rng.random() < 0.2:
            return c.ResolveTask(path=rng.choice(doubts), action="forget")
        path = rng.choice([*state.tasks, *state.set_aside, *state.latest.values(), "nobody"])
        return rng.choice(
            [
                c.StartRun(run_id="run_1", workflow="flow", version=1),
                c.CompleteTask(path="nobody", output=payload(1)),
                c.FireTimer(path="nobody"),
                c.StartTask(path=path),
                c.RecordStep(path=path, step="s0", name="s0", result=payload(1)),
                c.ResolveTask(path=path, action=rng.choice(["done", "forget"])),
                c.FinishChild(run="run_unknown", path=path, step="child", output=payload(1)),
                c.FinishRun(output=payload(1)),
                c.Deadline(timer="grace"),
                c.Deadline(timer="budget"),
            ]
            if path not in self.world.rows
            else [c.FinishRun(output=payload(1)), c.ResolveTask(path=path, action="forget")]
        )

    # --- the worker -----------------------------------------------------------------------------------------------

    def due(self, *, leased: bool = False) -> list[str]:
        """Rows whose time has come; of a held run only those that were leased before."""
        world = self.world
        if world.held and not leased:
            return []
        return [path for path, row in world.rows.items() if row.due_us <= world.now_us]

    def work(self) -> c.Command | None:
        """What a worker that has leased a due row may say next; None: there is none."""
        due = self.due(leased=self.rng.random() < 0.5)
        if not due:
            return None
        path = self.rng.choice(due)
        world = self.world
        if path.startswith("#"):
            return c.Deadline(timer=path[1:])
        if world.rows[path].timer:
            return c.FireTimer(path=path)
        return self.outcome(path)

    def outcome(self, path: str) -> c.Command:
        world, rng = self.world, self.rng
        task = world.state.tasks[path]
        node = world.node(task.node)
        roll = rng.random()
        if is_stopped(world.state, task) and roll < 0.4:
            return c.AbandonTask(path=path, began=rng.random() < 0.7)
        if node.for_each is not None and task.item is None and roll < 0.8:
            return self.items(path)
        if task.touched and roll < 0.35:
            return c.DoubtTask(path=path, reason="its worker is gone")
        if roll < 0.08:
            return c.StartTask(path=path, worker="w1")
        if roll < 0.20:
            step = f"s{rng.randint(0, 3)}"
            if rng.random() < 0.4:
                return self.spending(path, step)
            if rng.random() < 0.4:
                return c.StartStep(path=path, step=step, name=step)
            failed = error("StepError") if rng.random() < 0.2 else None
            return c.RecordStep(
                path=path,
                step=step,
                name=step,
                result=payload(step) if failed is None else None,
                error=failed,
            )
        if roll < 0.36:
            return c.SuspendTask(path=path, waits=self.waits(path))
        if roll < 0.48:
            later = rng.choice([None, None, 0, 3 * SECOND])
            oops = error(rng.choice(["Oops", "Other"]), retryable=rng.random() < 0.7)
            return c.FailTask(path=path, error=oops, draw=rng.random(), later_us=later)
        if roll < 0.53 and not task.touched:
            return c.SkipTask(path=path)
        if roll < 0.56:
            return c.CompleteTask(
                path=path, output=payload(path), stop=c.StopRequest(succeed=rng.random() < 0.5)
            )
        if 0.58 < roll < 0.63:
            return c.CompleteTask(path=path, output=NULL, plan=draw_plan(rng), plan_reason="it is needed")
        if roll < 0.57:
            handover = Handover(run=f"{world.state.run_id}-next", input=payload("on"))
            return c.CompleteTask(path=path, output=NULL, handover=handover)
        targets: tuple[str, ...] | None = None
        if (node.decides and rng.random() < 0.7) or rng.random() < 0.03:
            choices = [*node.allowed, "*", "nowhere"] if rng.random() < 0.2 else list(node.allowed)
            targets = tuple(rng.choices(choices, k=rng.randint(0, 2))) if choices else ()
        route = c.RouteChoice(targets=targets) if targets is not None else None
        variables = {"x": payload(self.number)} if rng.random() < 0.3 else {}
        enough = rng.choice([None, None, None, False, True, 1, 9]) if task.item is not None else None
        return c.CompleteTask(
            path=path, output=payload(path), route=route, variables=variables, enough=enough
        )

    def items(self, path: str) -> c.Command:
        counts = [self.rng.randint(1, 4) for _ in range(self.rng.randint(0, 2))]
        chunks = [ItemChunk(payload=payload([0] * count), count=count) for count in counts]
        return c.StartItems(path=path, chunks=tuple(chunks))

    def spending(self, path: str, step: str) -> c.Command:
        """A call that costs: its bound, and what it used (more than its bound, now and then)."""
        rng, task = self.rng, self.world.state.tasks[path]
        reserved = task.reserved.get(step)
        if reserved is None:
            bound = Usage(tokens=rng.choice([0, 3, 8]), cost_usd=rng.choice([0.01, 0.1, 0.3]))
            return c.ReserveBudget(path=path, step=step, usage=bound)
        used = rng.choice([None, Usage(tokens=2, cost_usd=0.05), Usage(tokens=9, cost_usd=0.5)])
        if rng.random() < 0.5:
            return c.SettleBudget(path=path, step=step, usage=used)
        return c.RecordStep(path=path, step=step, name=step, result=payload(step), usage=used)

    def waits(self, path: str) -> tuple[Wait, ...]:
        world, rng = self.world, self.rng
        generation = world.state.tasks[path].generation
        run = f"{world.state.run_id}/{path}/{generation}"
        due = world.now_us + rng.choice([0, SECOND, 20 * SECOND])
        possible = [
            timer(due),
            signal("a"),
            signal("b", due_us=due),
            signal("a", step="again"),
            child(run),
            timer(due + 1, step="later"),
        ]
        return tuple(rng.sample(possible, rng.randint(1, 3)))

    # --- the evening ----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """From here on everybody does what is asked, and only what queue, messages and wakers ask for."""
        world, rng = self.world, self.rng
        for _ in range(DRAIN_MAX):
            if not world.state.status.live:
                return
            self.attempt([self.helpful()])
        pytest.fail(f"the run goes on for ever: {world.state.status}, open {world.open}, {rng.random()}")

    def helpful(self) -> c.Command:
        world, rng = self.world, self.rng
        if world.held and not world.state.spent_out:
            return c.ResumeRun()
        if world.state.spent_out:
            (budget, *_), definition = world.state.spent_out, world.definition
            limit = limit_of(world.state, definition, budget) or 0
            if world.state.counts.total > 200:  # a loop without exit
                return c.CancelRun()
            return c.RaiseBudget(limits={budget: limit + (40 if budget != "duration" else 600 * SECOND)})
        due = self.due()
        if due:
            path = rng.choice(due)
            if path.startswith("#"):
                return c.Deadline(timer=path[1:])
            if world.rows[path].timer:
                return c.FireTimer(path=path)
            if is_stopped(world.state, world.state.tasks[path]):
                return c.AbandonTask(path=path)
            task = world.state.tasks[path]
            if world.node(task.node).for_each is not None and task.item is None:
                return self.items(path)
            if task.touched:
                return c.DoubtTask(path=path, reason="its worker is gone")
            return c.CompleteTask(path=path, output=payload("at last"))
        if world.state.handover is not None:
            return self.successor_exists()
        if world.children:
            return self.child_ends(rng.choice(list(world.children)))
        for task in world.state.tasks.values():
            if task.status is TaskStatus.IN_DOUBT:
                return c.ResolveTask(path=task.path, action=rng.choice(["retry", "fail"]))
            for wait in task.waits.values():
                if task.status is TaskStatus.WAITING and wait.kind == "signal":
                    self.number += 1
                    key = f"evening {self.number}"
                    return c.DeliverSignal(name=str(wait.name), payload=payload(1), key=key)
        assert world.rows, f"nothing can move the run: {world.state.status}, open {world.open}"
        world.now_us = max(world.now_us, min(row.due_us for row in world.rows.values()))
        path = min(world.rows, key=lambda path: world.rows[path].due_us)
        return c.Deadline(timer=path[1:]) if path.startswith("#") else self.helpful()


def live_through(rng: random.Random, seen: Seen) -> World:
    day = Day(rng, seen)
    for _ in range(COMMANDS):
        day.anything()
    day.finish()
    return day.world


# --- the properties ---------------------------------------------------------------------------------------------------


def test_every_run_keeps_the_invariants_comes_to_an_end_and_reaches_everything(
    first_seed: int, seen: Seen
) -> None:
    for seed in range(first_seed, first_seed + SEEDS):
        try:
            live_through(random.Random(seed), seen)
        except BaseException as failure:
            failure.add_note(f"seed {seed}: live_through(random.Random({seed}), Seen()) repeats it")
            raise
    assert set(e.KINDS) - seen.kinds.keys() == set()
    assert set(RunStatus) - seen.statuses.keys() == set()
    assert set(RUN_MOVES) - seen.run_moves == set(), "moves in the table that nothing makes"
    assert set(TASK_MOVES) - seen.task_moves == set(), "moves in the table that nothing makes"
    assert REFUSALS - seen.refusals.keys() == set()


def by_its_path(world: World) -> None:
    """One task after the other, each with an outcome that depends on its path alone, until the run is over."""
    while world.state.status.live:
        path = world.open[0]
        world.now_us = max(world.now_us, world.rows[path].due_us)
        node = world.node(world.state.tasks[path].node)
        draw = random.Random(path)
        if is_stopped(world.state, world.state.tasks[path]):
            world.do(c.AbandonTask(path=path))
        elif draw.random() < 0.03:
            world.fail(path, draw.choice(["Oops", "Other"]), retryable=True)
        elif draw.random() < 0.1:
            world.skip(path)
        else:
            chosen = draw.sample(list(node.allowed), min(1, len(node.allowed))) if node.decides else None
            chosen = [] if "@" in path and node.decides else chosen
            world.complete(path, f"of {path}", route=chosen, variables={"x": payload(path)})


def test_a_fork_that_changes_nothing_ends_as_its_parent_did_wherever_it_is_cut(first_seed: int) -> None:
    """With nodes that do the same at every try; one task at a time: the order of a race is nobody's promise."""
    ends: Counter[RunStatus] = Counter()
    for seed in range(first_seed, first_seed + SEEDS // 3):
        rng = random.Random(seed)
        run = started(draw_definition(rng, pauses=False), variables={"x": payload(0)})
        by_its_path(run)
        ends[run.state.status] += 1
        cuts = run.group_ends()
        for cut in rng.sample(cuts, min(6, len(cuts))):
            if run.state_at(cut).compensation is not None:
                continue
            fork = run.fork(seq=cut)
            by_its_path(fork)
            assert fork.state.status is run.state.status, (seed, cut)
            if run.state.status is RunStatus.SUCCEEDED:
                assert fork.state.output == run.state.output, (seed, cut)
                assert fork.visits() == run.visits(), (seed, cut)
    assert ends[RunStatus.SUCCEEDED] > 10
    assert ends[RunStatus.FAILED] > 10


@given(rng=st.randoms(use_true_random=False))
def test_a_run_that_breaks_an_invariant_shrinks_to_a_short_one(rng: random.Random) -> None:
    """The same under Hypothesis, which looks for the shortest day that breaks something."""
    day = Day(rng, Seen())
    for _ in range(25):
        day.anything()
    day.finish()
