"""The example workflows on the real engine and the memory store: every way through them, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import VersionRecord, encode_record, pinned
from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.kernel.commands import DeliverSignal
from orchestrator.kernel.events import DecisionMade, Event, RunFailed, RunSucceeded, TaskFailed, TaskSuspended
from orchestrator.kernel.state import RunState
from orchestrator.model.checks import check
from orchestrator.nodes import onboarding
from orchestrator.sdk import Outbox, Registry
from orchestrator.stores.memory import MemoryStore

FOLDER = Path(__file__).parents[3] / "examples"


class Bench:
    """An engine with the examples saved, that runs one workflow at a time to its end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        self._count = 0
        engine.observers.append(self._observe)

    def _observe(self, state: RunState, events: Sequence[Event]) -> None:
        if state.run_id == f"run_{self._count}":
            self.events += events
            self._changed.set()

    async def until(self, *kinds: type[Event]) -> None:
        async with asyncio.timeout(20):
            while not any(isinstance(event, kinds) for event in self.events):
                self._changed.clear()
                await self._changed.wait()

    async def start(self, workflow: str, input: Any = None) -> str:
        self._count += 1
        self.events = []
        run_id = f"run_{self._count}"
        payload, blobs = self.engine.codec.encode(input, run_id=run_id)
        command = await prepare_start(
            self.engine, run_id=run_id, workflow=workflow, version=None, namespace="default", payload=payload
        )
        await self.engine.create(command, blobs=blobs)
        return run_id

    async def signal(self, run_id: str, name: str, value: Any) -> None:
        payload, blobs = self.engine.codec.encode(value, run_id=run_id)
        await self.engine.command(run_id, DeliverSignal(name=name, payload=payload, key="once"), blobs=blobs)

    async def finish(self) -> Any:
        """The run's output, or its error's type and message."""
        await self.until(RunSucceeded, RunFailed)
        last = self.events[-1]
        if isinstance(last, RunFailed):
            return last.error.type, last.error.message
        assert isinstance(last, RunSucceeded)
        return json.loads(bytes(last.output.value))

    async def run(self, workflow: str, input: Any = None) -> Any:
        await self.start(workflow, input)
        return await self.finish()

    @property
    def decisions(self) -> list[tuple[str, str | None, str | None]]:
        made = [event for event in self.events if isinstance(event, DecisionMade)]
        return [(d.path, d.chosen[0].label or d.chosen[0].node, d.reason) for d in made]


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(onboarding, "WORK_SECONDS", 0)
    monkeypatch.setenv("ORCHESTRATOR_OUTBOX", str(tmp_path / "outbox"))
    registry = Registry()
    registry.load_module("orchestrator.nodes")
    store = MemoryStore()
    await store.open()
    engine = Engine(store, registry)
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    for file in sorted(FOLDER.glob("*.json")):
        text = file.read_bytes()
        document = json.loads(text)
        report = check(document, registry.declarations())
        assert report.document is not None
        record = VersionRecord(
            document=document, declarations=pinned(report.document, registry.declarations())
        )
        await store.save_version(document["name"], meaning=file.name, text=text, record=encode_record(record))
    yield Bench(engine)
    await worker.stop()
    await engine.close()
    await store.close()


@pytest.mark.parametrize(
    ("given", "user_type", "step", "to"),
    [
        (None, "premium", "step_escalate", "ada@example.com"),
        ({"user_type": "standard"}, "standard", "step_standard_process", "sam@example.com"),
    ],
)
async def test_onboarding_takes_both_paths_and_sends_one_mail(
    bench: Bench, given: Any, user_type: str, step: str, to: str
) -> None:
    output = await bench.run("Agentic User Onboarding", given)
    assert bench.decisions == [("step_route_user", step, f'user.type is "{user_type}"')]
    assert (output["to"], output["user_type"]) == (to, user_type)
    (mail,) = Outbox.from_environment().list(run="run_1").items
    assert (mail.id, mail.to, mail.path) == (output["message_id"], to, "step_send_email")


async def test_onboarding_of_an_unknown_type_fails_with_the_known_ones_and_sends_nothing(
    bench: Bench,
) -> None:
    kind, message = await bench.run("Agentic User Onboarding", {"user_type": "gold"})
    assert (kind, message) == (
        "permanent_failure",
        'user_type is \'gold\'; known are "premium" and "standard"',
    )
    assert len([e for e in bench.events if isinstance(e, TaskFailed)]) == 1
    assert Outbox.from_environment().list().items == ()


async def test_a_small_expense_needs_nobody(bench: Bench) -> None:
    output = await bench.run("Expense Approval", {"employee": "Sam", "amount": 5})
    assert output == {"approve": {"approved": True, "employee": "Sam", "amount": 5}}
    assert bench.decisions == [("needs_approval", "false", "input.amount > 100 is false")]


@pytest.mark.parametrize(
    ("answer", "label", "output"),
    [
        ({"approved": True}, "yes", {"approve": {"approved": True, "employee": "Sam", "amount": 500}}),
        (
            {"approved": False, "comment": "too much"},
            "no",
            {"reject": {"approved": False, "employee": "Sam", "comment": "too much"}},
        ),
        (
            {"approved": "hm"},
            "*",
            {"reject": {"approved": False, "employee": "Sam", "comment": "no comment"}},
        ),
    ],
)
async def test_a_large_expense_waits_for_the_managers_signal(
    bench: Bench, answer: Any, label: str, output: Any
) -> None:
    run_id = await bench.start("Expense Approval", {"employee": "Sam", "amount": 500})
    await bench.until(TaskSuspended)
    await bench.signal(run_id, "decision", answer)
    assert await bench.finish() == output
    assert [(path, chosen) for path, chosen, _ in bench.decisions] == [
        ("needs_approval", "true"),
        ("judge", label),
    ]


async def test_three_branches_meet_in_the_briefing(bench: Bench) -> None:
    output = await bench.run("Morning Briefing")
    assert output["text"].startswith("Weather: sunny, 21 degrees. 2 meetings. News: Nothing happened")
    assert output["meetings"] == ["09:00 planning", "14:00 review"]


async def test_the_loop_ends_when_somebody_is_at_home(bench: Bench) -> None:
    output = await bench.run("Delivery Attempts", {"at_home_on": 3, "attempts": 5})
    assert output == {"attempt": 3, "opened": True}
    assert [(path, chosen) for path, chosen, _ in bench.decisions] == [
        ("what_now", "*"),
        ("what_now@2", "*"),
        ("what_now@3", "delivered"),
    ]


async def test_the_loop_gives_up_after_the_last_attempt(bench: Bench) -> None:
    assert await bench.run("Delivery Attempts", {"at_home_on": 9, "attempts": 2}) == (
        "stopped",
        "nobody at home in 2 attempts",
    )


async def test_an_order_waits_for_its_shipment(bench: Bench) -> None:
    output = await bench.run("Order", {"order": "A-1", "address": "here"})
    assert output == {"confirm": {"message": "Order A-1 is on its way: TRK-A-1"}}
