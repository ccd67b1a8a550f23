"""The join rule on random well-nested graphs: each node runs exactly as often as the structure says.

A structure (sequence, parallel, choice, a handled error, `while`, `do ... while`, nested) is drawn; it is written down
as a document, and read by an interpreter that draws every decision and counts visits. Then the kernel runs the document
with these decisions, its tasks completed in random order, some of them only after a retry, a wait or a doubt.

1,000 graphs in `make check`, 100,000 in `make fuzz` (from FUZZ_SEED on).
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings

from orchestrator.kernel import commands as c
from orchestrator.kernel.status import RunStatus, TaskStatus
from tests.unit.kernel.world import World, definition_of, payload, signal, started

BATCH = 250
BATCHES = 400 if settings.get_current_profile_name() == "fuzz" else 4
VISITS_MAX = 400

Node = dict[str, Any]


@dataclass
class Script:
    """Draws decisions, counts the visits that they lead to, and keeps them for the kernel's run, visit by visit."""

    rng: random.Random
    visits: Counter[str] = field(default_factory=Counter[str])
    decisions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def visit(self, node: str) -> None:
        self.visits[node] += 1
        if self.visits.total() > VISITS_MAX:
            raise TooLong

    def decide(self, node: str, choice: str) -> None:
        self.visit(node)
        self.decisions.setdefault(node, []).append(choice)


class TooLong(Exception):
    """The drawn decisions lead to a run that is too long for a test."""


@dataclass
class Structure:
    """A piece with one way in and one way out. `write` adds its nodes and gives the id of its first one."""

    write: Callable[["Writer", str], str]
    run: Callable[[Script], None]


class Writer:
    """The document in the making. Ids are given out while structures are drawn, nodes are written in random order."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.count = 0
        self.loops = 0
        self.nodes: dict[str, Node] = {}

    def new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def add(self, node: str, **fields: Any) -> str:
        self.nodes[node] = fields
        return node

    def document(self, start: str) -> dict[str, Node]:
        """The saved order of nodes must not matter where nothing is ambiguous."""
        names = [node for node in self.nodes if node != start]
        self.rng.shuffle(names)
        return {node: self.nodes[node] for node in (start, *names)}


def draw(writer: Writer, depth: int, *, joined: bool) -> Structure:
    """Any structure. `joined`: it leads back to the head of a loop around it, so parallel ways must meet first."""
    if depth == 0:
        return leaf(writer)
    kinds = [sequence, sequence, parallel, parallel, race, choice, handled, while_loop, do_while]
    kind = writer.rng.choice([None, *kinds])
    return leaf(writer) if kind is None else kind(writer, depth - 1, joined)


def leaf(writer: Writer) -> Structure:
    node = writer.new("n")
    return Structure(
        lambda w, after: w.add(node, next_node=after),
        lambda script: script.visit(node),
    )


def sequence(writer: Writer, depth: int, joined: bool) -> Structure:
    count = writer.rng.randint(2, 3)
    parts = [draw(writer, depth, joined=joined and i == count - 1) for i in range(count)]

    def write(w: Writer, after: str) -> str:
        for part in reversed(parts):
            after = part.write(w, after)
        return after

    def run(script: Script) -> None:
        for part in parts:
            part.run(script)

    return Structure(write, run)


def parallel(writer: Writer, depth: int, joined: bool) -> Structure:
    fork, join = writer.new("fork"), writer.new("join")
    own_join = joined or writer.rng.random() < 0.6
    arms = [draw(writer, depth, joined=False) for _ in range(writer.rng.randint(2, 3))]

    def write(w: Writer, after: str) -> str:
        meet = w.add(join, next_node=after) if own_join else after
        return w.add(fork, next_node=[arm.write(w, meet) for arm in arms])

    def run(script: Script) -> None:
        script.visit(fork)
        for arm in arms:
            arm.run(script)
        if own_join:
            script.visit(join)

    return Structure(write, run)


def race(writer: Writer, depth: int, joined: bool) -> Structure:
    """Parallel ways of which some are enough; the others go on, and nobody behind waits for them.

    In a loop the next round begins while the last of this one still run: there the ways are plain chains, since a join
    `all` within them would, rightly, take two rounds for one.
    """
    fork, meet = writer.new("race"), writer.new("meet")
    count = writer.rng.randint(2, 3)
    if writer.loops:
        arms = [leaf(writer) for _ in range(count)]
    else:
        arms = [draw(writer, depth, joined=False) for _ in range(count)]
    enough = writer.rng.randint(1, count)
    rule = writer.rng.choice([enough, {"count": enough}, "any"])

    def write(w: Writer, after: str) -> str:
        w.add(meet, next_node=after, join=rule)
        return w.add(fork, next_node=[arm.write(w, meet) for arm in arms])

    def run(script: Script) -> None:
        script.visit(fork)
        for arm in arms:
            arm.run(script)
        script.visit(meet)

    return Structure(write, run)


def choice(writer: Writer, depth: int, joined: bool) -> Structure:
    """Exclusive; one of the ways may lead straight on."""
    node = writer.new("choice")
    arms = [draw(writer, depth, joined=joined) for _ in range(writer.rng.randint(1, 3))]
    empty = len(arms) == 1 or writer.rng.random() < 0.3

    def write(w: Writer, after: str) -> str:
        labels = {f"way{i}": arm.write(w, after) for i, arm in enumerate(arms)}
        return w.add(node, next_node={**labels, **({"straight": after} if empty else {})})

    def run(script: Script) -> None:
        taken = script.rng.randrange(len(arms) + empty)
        if taken == len(arms):
            script.decide(node, "straight")
        else:
            script.decide(node, f"way{taken}")
            arms[taken].run(script)

    return Structure(write, run)


def handled(writer: Writer, depth: int, joined: bool) -> Structure:
    """A node that may fail, and its handler: a detour that makes no join, but feeds those behind it."""
    node = writer.new("try")
    handler = draw(writer, depth, joined=joined)

    def write(w: Writer, after: str) -> str:
        return w.add(node, next_node=after, on_error=handler.write(w, after))

    def run(script: Script) -> None:
        fails = script.rng.random() < 0.5
        script.decide(node, "fail" if fails else "ok")
        if fails:
            handler.run(script)

    return Structure(write, run)


def while_loop(writer: Writer, depth: int, joined: bool) -> Structure:
    head = writer.new("while")
    writer.loops += 1
    body = draw(writer, depth, joined=True)
    writer.loops -= 1

    def write(w: Writer, after: str) -> str:
        return w.add(head, next_node={"again": body.write(w, head), "done": after})

    def run(script: Script) -> None:
        for _ in range(script.rng.randint(0, 2)):
            script.decide(head, "again")
            body.run(script)
        script.decide(head, "done")

    return Structure(write, run)


def do_while(writer: Writer, depth: int, joined: bool) -> Structure:
    tail = writer.new("until")
    writer.loops += 1
    body = draw(writer, depth, joined=False)
    writer.loops -= 1

    def write(w: Writer, after: str) -> str:
        first = body.write(w, tail)
        w.add(tail, next_node={"again": first, "done": after})
        return first

    def run(script: Script) -> None:
        for _ in range(script.rng.randint(0, 2)):
            body.run(script)
            script.decide(tail, "again")
        body.run(script)
        script.decide(tail, "done")

    return Structure(write, run)


def play(world: World, script: Script, rng: random.Random) -> None:
    """Run it to its end, one random open task after the other; some first wait, are tried again or are in doubt."""
    delayed: set[str] = set()
    while world.state.status.live:
        path = rng.choice(list(world.state.tasks))
        task = world.state.tasks[path]
        if task.status is TaskStatus.WAITING:
            world.signal("go")
        elif task.status is TaskStatus.IN_DOUBT:
            world.do(c.ResolveTask(path=path, action="retry"))
        elif path not in delayed and rng.random() < 0.15:
            delayed.add(path)
            kind = rng.randrange(3)
            if kind == 0:
                world.suspend(path, signal("go"))
            elif kind == 1:
                world.fail(path, retryable=True)
            else:
                world.do(c.StartTask(path=path))
                world.do(c.DoubtTask(path=path, reason="the worker is gone"))
        else:
            decisions = script.decisions.get(task.node)
            decision = decisions[task.visit - 1] if decisions is not None else None
            if decision in (None, "ok"):
                world.complete(path)
            elif decision == "fail":
                world.fail(path)
            else:
                world.do(
                    c.CompleteTask(path=path, output=payload(1), route=c.RouteChoice(targets=(decision,)))
                )


def one_graph(seed: int) -> Counter[str]:
    """Draw, run and compare one graph; gives the kinds of nodes that ran."""
    rng = random.Random(seed)
    writer = Writer(rng)
    whole = sequence(writer, rng.randint(1, 4), False)
    start = whole.write(writer, writer.add("end"))
    script = Script(rng)
    try:
        whole.run(script)
    except TooLong:
        return Counter()
    script.visit("end")
    nodes = writer.document(start)
    world = started(definition_of(nodes), checked=False)
    play(world, script, rng)
    assert world.state.status is RunStatus.SUCCEEDED, world.state.error
    assert world.visits() == {node: n for node, n in script.visits.items() if n}
    assert not world.state.arrivals
    return Counter(node.rstrip("0123456789") for node in script.visits)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_on_random_well_nested_graphs_each_node_runs_as_often_as_the_structure_says(
    batch: int, first_seed: int
) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(first_seed + batch * BATCH, first_seed + (batch + 1) * BATCH):
        try:
            kinds += one_graph(seed)
        except BaseException as failure:
            failure.add_note(f"seed {seed}: one_graph({seed}) repeats it")
            raise
    assert kinds.keys() >= {"n", "fork", "join", "race", "meet", "choice", "try", "while", "until", "end"}


def test_the_interpreter_of_structures_notices_a_join_that_runs_twice() -> None:
    """The comparison itself: a loop whose parallel ways go back without meeting runs its head twice a round."""
    world = started(
        definition_of(
            {
                "head": {"next_node": {"again": ["a", "b"], "done": "end"}},
                "a": {"next_node": "head"},
                "b": {"next_node": "head"},
                "end": {},
            }
        )
    )
    world.complete("head", route=["again"])
    world.complete("a")
    world.complete("b")
    assert world.open == ["head@2", "head@3"]
