"""A run as a test sees it: what happened, as plain data, and assertions that tell the story when they fail."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.engine.views.story import tell
from orchestrator.kernel import events as e
from orchestrator.kernel.values import ErrorInfo, Payload

if TYPE_CHECKING:
    from orchestrator.testing.lab import Lab

STORY_LINES_MAX = 60
_END = (e.RunSucceeded, e.RunFailed, e.RunCancelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a node sent the run. `chosen`: labels where its `next_node` is a map, else node ids; () ends the path."""

    path: str
    node: str
    chosen: tuple[str, ...]
    allowed: tuple[str, ...]
    reason: str | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step as it was recorded: its result, or the type and message of its error."""

    path: str
    node: str
    name: str
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed attempt. `final` if the task wasn't tried again."""

    path: str
    node: str
    attempt: int
    type: str
    message: str
    final: bool


class LabRun:
    """A run in a lab, as of the last thing that the test did with the lab. Made by `Lab.start` and `Lab.run`.

    Attributes:
        id: the run's id.
        status: `running`, `waiting`, `succeeded` ...
        output: what a run that succeeded gave back, else None.
        error: of a failed run `{"type", "message", "path", ...}`, else None.
        events: the journal.
    """

    def __init__(self, lab: "Lab", run_id: str) -> None:
        self.id = run_id
        self.status = "queued"
        self.output: Any = None
        self.error: dict[str, Any] | None = None
        self.input: Any = None
        self.workflow = ""
        self.events: list[e.Event] = []
        self.explanation = ""
        self._lab = lab
        self._values: dict[int, Any] = {}

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.workflow!r}: {self.status}>"

    # --- what happened ----------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def visits(self) -> dict[str, int]:
        """How often each node ran, in the order of their first visit; skipped and withdrawn tasks don't count."""
        gone = {t.path for t in self._all(e.TaskSkipped, e.TaskCancelled)}
        found: dict[str, int] = {}
        for task in self._all(e.TaskScheduled):
            if task.path not in gone:
                found[task.node] = found.get(task.node, 0) + 1
        return found

    @property
    def path(self) -> list[str]:
        """The tasks that completed, in their order: `["start", "check", "check@2"]`."""
        return [t.path for t in self._all(e.TaskCompleted)]

    @property
    def skipped(self) -> list[str]:
        """The tasks that were skipped."""
        return [t.path for t in self._all(e.TaskSkipped)]

    @property
    def outputs(self) -> dict[str, Any]:
        """The output of each node's latest visit."""
        return {t.node: self._value(t.seq) for t in self._all(e.TaskCompleted)}

    @property
    def decisions(self) -> list[Decision]:
        """Every decision, in order."""
        return [
            Decision(
                path=d.path,
                node=d.node,
                chosen=tuple(dict.fromkeys(c.label if c.label is not None else c.node for c in d.chosen)),
                allowed=tuple(d.allowed),
                reason=d.reason,
                by=d.by,
            )
            for d in self._all(e.DecisionMade)
        ]

    @property
    def steps(self) -> list[Step]:
        """Every recorded step, in order."""
        return [
            Step(
                path=s.path,
                node=s.node,
                name=s.name,
                result=self._value(s.seq),
                error=None if s.error is None else _said(s.error),
            )
            for s in self._all(e.StepRecorded)
        ]

    @property
    def failures(self) -> list[Failure]:
        """Every failed attempt, in order; those that were tried again too."""
        return [
            Failure(
                path=f.path,
                node=f.node,
                attempt=f.attempt,
                type=f.error.type,
                message=f.error.message,
                final=f.retry_us is None,
            )
            for f in self._all(e.TaskFailed)
        ]

    @property
    def story(self) -> str:
        """The journal in words, one event a line."""
        lines = [f"{event.at[11:23]}  {tell(event).text}" for event in self.events]
        if len(lines) > STORY_LINES_MAX:
            half = STORY_LINES_MAX // 2
            lines = [*lines[:half], f"... {len(lines) - 2 * half:,} more events ...", *lines[-half:]]
        return "\n".join(lines)

    # --- what a person does -----------------------------------------------------------------------------------------

    async def finish(self, *, within: float | str | timedelta = "366d") -> "LabRun":
        """Let time pass until the run is over: timers fire, retries are due.

        Raises:
            AssertionError: it waits for what time doesn't bring (a signal, a person), or longer than `within`.
        """
        await self._lab.finish(self, within=within)
        return self

    async def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send a signal, and let the run do what follows."""
        await self._lab.service.signal(self.id, name, payload, idempotency_key=key)
        await self._lab.idle()

    async def pause(self) -> None:
        """Let nothing new start."""
        await self._lab.service.pause(self.id)
        await self._lab.idle()

    async def resume(self) -> None:
        """Take a pause back."""
        await self._lab.service.resume(self.id)
        await self._lab.idle()

    async def cancel(self, reason: str | None = None) -> None:
        """Cancel the run."""
        await self._lab.service.cancel(self.id, reason=reason)
        await self._lab.idle()

    async def retry(self) -> None:
        """Take up a failed run where it failed."""
        await self._lab.service.retry(self.id)
        await self._lab.idle()

    async def resolve(self, path: str, action: str, *, output: Any = None) -> None:
        """Say what became of a task in doubt: `done` (with an output), `retry`, `skip` or `fail`."""
        await self._lab.service.resolve(self.id, path, action, output=output)
        await self._lab.idle()

    # --- assertions -------------------------------------------------------------------------------------------------

    def assert_succeeded(self, output: Any = ...) -> "LabRun":
        """The run succeeded, with this output if one is given."""
        self._check(self.status == "succeeded", f"it should have succeeded, and {self._now()}")
        if output is not ...:
            self._check(
                self.output == output, f"its output should be {_shown(output)}, and is {_shown(self.output)}"
            )
        return self

    def assert_failed(
        self, type: str | None = None, *, path: str | None = None, message: str = ""
    ) -> "LabRun":
        """The run failed: with this type of error, at this task, with these words in the message, where given."""
        self._check(self.status == "failed", f"it should have failed, and {self._now()}")
        error = self.error or {}
        for name, wanted in (("type", type), ("path", path)):
            found = error.get(name)
            self._check(
                wanted is None or found == wanted,
                f"its error's {name} should be {wanted!r}, and is {found!r}: {error.get('message')}",
            )
        self._check(
            message in str(error.get("message", "")),
            f"its error should say {message!r}, and says {error.get('message')!r}",
        )
        return self

    def assert_cancelled(self) -> "LabRun":
        """The run was cancelled."""
        self._check(self.status == "cancelled", f"it should have been cancelled, and {self._now()}")
        return self

    def assert_waiting(self, words: str = "") -> "LabRun":
        """The run lives and nothing of it runs; `words` stand in the sentence that says what it waits for."""
        waits = self.status in ("waiting", "paused", "running", "queued")
        self._check(waits, f"it should wait, and {self._now()}")
        self._check(words in self.explanation, f"it should wait for {words!r}, and {self._now()}")
        return self

    def assert_visited(self, *nodes: str, **times: int) -> "LabRun":
        """Each of these nodes ran; by keyword, exactly so often."""
        visits = self.visits
        for node in nodes:
            self._check(node in visits, f"`{node}` should have run, and did not; {_ran(visits)}")
        for node, wanted in times.items():
            found = visits.get(node, 0)
            self._check(
                found == wanted, f"`{node}` should have run {wanted} times, and ran {found}; {_ran(visits)}"
            )
        return self

    def assert_not_visited(self, *nodes: str) -> "LabRun":
        """None of these nodes ran."""
        visits = self.visits
        for node in nodes:
            self._check(node not in visits, f"`{node}` should not have run, and did; {_ran(visits)}")
        return self

    def assert_decided(self, node: str, *chosen: str) -> "LabRun":
        """The node's latest decision was for these, and only these, labels or nodes."""
        made = [d for d in self.decisions if d.node == node]
        others = ", ".join(f"`{d.node}`" for d in self.decisions) or "no node"
        self._check(bool(made), f"`{node}` should have decided, and did not; {others} did")
        found = made[-1].chosen
        because = f" because {made[-1].reason}" if made[-1].reason else ""
        self._check(
            set(found) == set(chosen),
            f"`{node}` should have chosen {_names(chosen)}, and chose {_names(found)}{because}",
        )
        return self

    def fail(self, words: str) -> None:
        """Fail the test with these words and the run's story.

        Raises:
            AssertionError: always.
        """
        __tracebackhide__ = True
        raise AssertionError(
            f"run {self.id} of {self.workflow!r}: {words}\n\nThe story of the run:\n{self.story}"
        )

    def _check(self, holds: bool, words: str) -> None:
        __tracebackhide__ = True
        if not holds:
            self.fail(words)

    def _now(self) -> str:
        return f"is {self.status}: {self.explanation}" if self.explanation else f"is {self.status}"

    # --- inside -----------------------------------------------------------------------------------------------------

    def _all(self, *kinds: Any) -> Iterable[Any]:
        return (event for event in self.events if isinstance(event, kinds))

    def _value(self, seq: int) -> Any:
        return self._values.get(seq)

    async def refresh(self) -> None:
        """Take over what the run has become. The lab calls it after whatever a test does."""
        lab = self._lab
        fresh = lab.events_of(self.id)[len(self.events) :]
        for event in fresh:
            payload: Payload | None = getattr(event, "output", None) or getattr(event, "result", None)
            if isinstance(payload, Payload):
                self._values[event.seq] = await lab.service.engine.decode(payload, run_id=self.id)
        self.events.extend(fresh)
        view = await lab.service.get_run(self.id)
        self.workflow, self.status = view["workflow"], view["status"]
        self.input, self.output, self.error = view["input"], view["output"], view["error"]
        self.explanation = (await lab.service.explain(self.id))["sentence"]


def _said(error: ErrorInfo) -> str:
    return f"{error.type}: {error.message}"


def _shown(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 1_000 else text[:1_000] + "…"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "to end its path"


def _ran(visits: Mapping[str, int]) -> str:
    times = (f"`{node}`" + (f" {count} times" if count > 1 else "") for node, count in visits.items())
    return "these ran: " + (", ".join(times) or "none")


__all__ = ["Decision", "Failure", "LabRun", "Step"]
