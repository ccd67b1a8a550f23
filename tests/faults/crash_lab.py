"""A whole engine that kills itself with SIGKILL at a named point. A program: one life for each line of JSON on stdin.

A line names the store, the ledger, the point and the how-manyth passage of it is the last thing that the process does.
Everything is imported once; each life is a fork of that, so that hundreds of them take a minute. On stdout comes a line
for each life: `killed`, or `over` with the views of the runs.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.service.facade import Service
from orchestrator.sdk import Outbox, Registry
from orchestrator.stores.contract import ClaimAnswer, Commit, CommitAnswer, HeartbeatAnswer
from orchestrator.stores.sqlite import SqliteStore, fast
from orchestrator.stores.sqlite.transaction import Transaction
from orchestrator.stores.sqlite.writer import Job, Writer
from tests.faults import nodes

RUNS = 2
LIFE_SECONDS = 30
TERMINAL = ("succeeded", "failed", "cancelled")
CONFIG = EngineConfig(
    snapshot_every=8,
    slow_poll_seconds=0.05,
    heartbeat_seconds=0.05,
    lease_seconds=5.0,
    reconcile_seconds=0.5,
)

CHILD: dict[str, Any] = {
    "name": "crash-child",
    "start_at": "work",
    "nodes": {"work": {"class": "LedgerNode", "params": {"seconds": 0, "value": "{{ input.n * 2 }}"}}},
}
DOCUMENT: dict[str, Any] = {
    "name": "crash",
    "start_at": "first",
    "output": {"sum": "{{ nodes.join.sum }}", "paid": "{{ nodes.pay.value }}", "rounds": "{{ nodes.round }}"},
    "vars": {"round": 0},
    "nodes": {
        "first": {
            "class": "LedgerNode",
            "params": {"seconds": 0, "value": "{{ input.n }}"},
            "next_node": ["pay", "steps", "flaky", "child", "ask", "bad"],
        },
        "pay": {"class": "PayNode", "params": {"seconds": 0.01, "value": 7}, "next_node": "pay_in_step"},
        "pay_in_step": {"class": "PayInStepNode", "params": {"seconds": 0.01}, "next_node": "join"},
        "steps": {"class": "StepsNode", "params": {"seconds": 0.02}, "next_node": "join"},
        "flaky": {
            "class": "FlakyNode",
            "params": {"seconds": 0, "fails": 2},
            "retry": {"max_attempts": 3, "initial": "10ms"},
            "next_node": "join",
        },
        "child": {
            "class": "SubWorkflowNode",
            "params": {"workflow": "crash-child", "input": {"n": "{{ input.n }}"}},
            "next_node": "join",
        },
        "ask": {"class": "WaitNode", "params": {"signal": "go"}, "next_node": "round"},
        "round": {
            "class": "SetNode",
            "params": {
                "values": {"round": "{{ vars.round + 1 }}"},
                "variables": {"round": "{{ vars.round + 1 }}"},
            },
            "next_node": "again",
        },
        "again": {
            "class": "IfNode",
            "params": {"condition": "{{ vars.round < 3 }}"},
            "next_node": {"true": "round", "false": "skipped"},
        },
        "skipped": {"class": "LedgerNode", "when": "false", "next_node": "join"},
        "bad": {"class": "LedgerNode", "params": {"value": "{{ input.missing }}"}, "on_error": "mended"},
        "mended": {"class": "LedgerNode", "params": {"seconds": 0}, "next_node": "join"},
        "join": {"class": "SetNode", "params": {"values": {"sum": "{{ nodes.child.value + input.n }}"}}},
    },
}


class Fuse:
    """Counts the passages of one point, and ends the process at the last of them."""

    def __init__(self, point: str, passages: int) -> None:
        self.point = point
        self.left = passages

    def passes(self, *points: str) -> None:
        """The process is at these points."""
        if self.point in points:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def kinds_of(commits: Sequence[Commit]) -> set[str]:
    """The kinds of the events in some commits; a commit without events finishes something, or asks for something."""
    found = {json.loads(event)["kind"] for commit in commits for event in commit.events}
    return found | {"no event" for commit in commits if not commit.events}


def lay(fuse: Fuse) -> None:
    """Put the fuse at every point of the engine."""
    _at_commits(fuse)
    _at_calls(fuse)
    note = nodes.note

    def noted(kind: str, *facts: Any) -> None:
        fuse.passes(f"before the effect: {kind}")
        note(kind, *facts)
        fuse.passes(f"after the effect: {kind}")

    nodes.note = noted


def _at_commits(fuse: Fuse) -> None:
    commit, apply_batch, written = SqliteStore.commit, fast.apply_batch, Writer._commit
    serve = Writer._serve
    in_hand: set[str] = set()

    async def ask(self: SqliteStore, batch: Sequence[Commit]) -> list[CommitAnswer]:
        kinds = kinds_of(batch)
        fuse.passes(*(f"asked: {kind}" for kind in kinds))
        answers = await commit(self, batch)
        fuse.passes(*(f"heard: {kind}" for kind in kinds))
        return answers

    def apply(tx: Transaction, commits: Sequence[Commit]) -> list[CommitAnswer]:
        half = len(commits) // 2
        if half and fuse.point == "in the middle of a batch":
            first = apply_batch(tx, commits[:half])
            fuse.passes("in the middle of a batch")
            return first + apply_batch(tx, commits[half:])
        return apply_batch(tx, commits)

    def write(self: Writer) -> None:
        fuse.passes(*(f"written: {kind}" for kind in in_hand))
        written(self)
        fuse.passes(*(f"durable: {kind}" for kind in in_hand))

    def take(self: Writer, group: list[Job]) -> None:
        in_hand.clear()
        for job in group:
            in_hand.update(kinds_of(job.commits or ()))
        serve(self, group)

    SqliteStore.commit, Writer._commit, Writer._serve = ask, write, take
    fast.apply_batch = apply


def _at_calls(fuse: Fuse) -> None:
    claim, beat = SqliteStore.claim, SqliteStore.heartbeat_blocking

    async def claiming(self: SqliteStore, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        fuse.passes("before a claim")
        answer = await claim(self, worker, queues=queues, limit=limit)
        if answer.claims:
            fuse.passes("after a claim")
        return answer

    def beating(self: SqliteStore, worker: str, *, lease_us: int, info: bytes = b"") -> HeartbeatAnswer:
        fuse.passes("before a renewal")
        answer = beat(self, worker, lease_us=lease_us, info=info)
        fuse.passes("after a renewal")
        return answer

    SqliteStore.claim, SqliteStore.heartbeat_blocking = claiming, beating


async def live(store_at: Path, ledger: Path) -> list[dict[str, Any]]:
    """Start the runs unless they are there, help them as people do, and come back with their views."""
    registry = Registry()
    registry.load_entry_points()
    for name in ("LedgerNode", "PayNode", "PayInStepNode", "StepsNode", "FlakyNode"):
        registry.register(getattr(nodes, name))
    store = SqliteStore(f"sqlite:///{store_at}")
    await store.open()
    engine = Engine(store, registry, config=CONFIG)
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    service = Service(engine, outbox=Outbox(store_at.parent / "outbox"))
    service.start()
    for document in (CHILD, DOCUMENT):
        await service.save_workflow(json.dumps(document))
    async with asyncio.timeout(LIFE_SECONDS):
        found = await asyncio.gather(*(_see_through(service, number, ledger) for number in range(RUNS)))
    await worker.stop()
    service.close()
    await engine.close()
    await store.close()
    return found


async def _see_through(service: Service, number: int, ledger: Path) -> dict[str, Any]:
    started, _ = await service.start_run("crash", input={"n": number}, idempotency_key=f"run {number}")
    run = started["id"]
    if started["status"] not in TERMINAL:
        view = await service.get_run(run)
        if view["status"] not in TERMINAL:
            await service.signal(run, "go", {"word": "now"}, idempotency_key=f"go {number}")
    while True:
        view = await service.get_run(run)
        if view["status"] in TERMINAL:
            journal = await service.read_journal(run, limit=1_000)
            return {"view": view, "journal": journal["items"]}
        for task in await service.list_tasks(run):
            if task["status"] == "in_doubt":
                await _resolve(service, run, task, ledger)
        await asyncio.sleep(0.01)


async def _resolve(service: Service, run: str, task: dict[str, Any], ledger: Path) -> None:
    """As a careful person does: with a look at what happened outside."""
    happened = await asyncio.to_thread(_was_paid, ledger, run, task["path"])
    output: Any = "pay" if task["node"] == "pay_in_step" else {"path": task["path"], "value": 7}
    if happened:
        await service.resolve(run, task["path"], action="done", output=output)
    else:
        await service.resolve(run, task["path"], action="retry")


def _was_paid(ledger: Path, run: str, path: str) -> bool:
    lines = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return any(
        line["run"] == run and line["path"] == path and line["kind"] == "irreversible" for line in lines
    )


def one_life(order: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(2, 1)  # standard output is for the answers
        try:
            os.environ["LEDGER"] = order["ledger"]
            lay(Fuse(order["point"], order["passages"]))
            found = asyncio.run(live(Path(order["store"]), Path(order["ledger"])))
            with os.fdopen(writing, "w") as out:
                json.dump({"over": found}, out)
        except BaseException as error:  # noqa: BLE001 - told to the test, which fails with it
            with os.fdopen(writing, "w") as out:
                json.dump({"broken": f"{type(error).__name__}: {error}"}, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    return json.loads(text)


if __name__ == "__main__":
    for written_order in sys.stdin:
        sys.stdout.write(json.dumps(one_life(json.loads(written_order))) + "\n")
        sys.stdout.flush()
