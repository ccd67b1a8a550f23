"""Runs made with the kernel alone, for tests of what observers see."""

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.kernel import commands as c
from orchestrator.kernel.events import AnyEvent, Event
from orchestrator.kernel.handle import handle, needs_output
from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import ErrorInfo, Payload, Timing, Wait, rfc3339
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.definition import Definition, compile_definition
from orchestrator.model.document import WorkflowDocument

START_US = 1_795_363_200_000_000  # 2026-11-22T16:00:00Z

DECLARATIONS = {
    d.name: d
    for d in (
        ClassDeclaration(name="Plain"),
        ClassDeclaration(name="Pay", effect=Effect.IRREVERSIBLE),
        ClassDeclaration(name="Choose", routes=("left", "right")),
    )
}


def definition_of(nodes: Mapping[str, Any], **settings: Any) -> Definition:
    start = next(iter(nodes))
    document = WorkflowDocument.model_validate(
        {"name": "flow", "start_at": start, "nodes": dict(nodes), **settings}
    )
    return compile_definition(document, DECLARATIONS)


def payload(value: Any) -> Payload:
    return Payload(value=msgspec.Raw(msgspec.json.encode(value)))


class Run:
    """One run, its events so far, and a clock that moves a millisecond with every command."""

    def __init__(
        self,
        nodes: Mapping[str, Any],
        *,
        input: Any = None,
        labels: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.definition = definition_of(nodes, **settings)
        self.state = RunState()
        self.events: list[Event] = []
        self.now_us = START_US
        self.do(
            c.StartRun(run_id="run_1", workflow="flow", version=1, input=payload(input), labels=labels or {})
        )

    def do(self, command: c.Command, *, after_us: int = 1_000) -> list[Event]:
        self.now_us += after_us
        events = handle(self.state, command, now_us=self.now_us, definition=self.definition)
        if needs_output(self.state, self.definition):
            events += handle(
                self.state, c.FinishRun(output=payload("out")), now_us=self.now_us, definition=self.definition
            )
        self.events += events
        return events

    def timing(self, took_us: int) -> Timing:
        return Timing(
            worker="w1", queued_at=rfc3339(self.now_us), started_at=rfc3339(self.now_us + 1_000 - took_us)
        )

    def complete(self, path: str, output: Any = None, *, took_us: int = 500, **more: Any) -> list[Event]:
        return self.do(c.CompleteTask(path=path, output=payload(output), timing=self.timing(took_us), **more))

    def fail(self, path: str, error: ErrorInfo, *, took_us: int = 500) -> list[Event]:
        return self.do(c.FailTask(path=path, error=error, timing=self.timing(took_us)))

    def wait_for_signal(self, path: str, *, name: str, due_us: int | None = None) -> list[Event]:
        return self.do(
            c.SuspendTask(
                path=path, waits=(Wait(step=f"signal:{name}", kind="signal", name=name, due_us=due_us),)
            )
        )


def any_events(run: Run) -> list[AnyEvent]:
    """The run's events as their union."""
    return list(run.events)  # pyright: ignore[reportReturnType]  (every event of the kernel is of the union)
