"""Branches of a node's code: what `ctx.gather` runs side by side, each with step names of its own.

A branch that waits is parked, not unwound: the others go on, and what they record counts. A gathering is at rest once
each of its branches is over or waits. Then a failure in it is raised (what still waits is given up); else its own
branch waits too, and so on up to the task's root: once that is at rest the task suspends, with everything that anybody
waits for.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from orchestrator.kernel.commands import RecordStep
from orchestrator.kernel.state import StepState
from orchestrator.kernel.values import Wait

T = TypeVar("T")

_current: ContextVar["Branch | None"] = ContextVar("orchestrator_branch", default=None)


class Suspension(BaseException):
    """Unwinds a node's code to its runner. Not an Exception, so that `except Exception` lets it pass."""

    def __init__(self, waits: tuple[Wait, ...]) -> None:
        self.waits = waits
        super().__init__("the task waits; let this pass")


ROLLED_BACK = (
    "the store lost its newest writes (it failed over to a copy that was behind, or was restarted), and whether this "
    "had begun before is unknown"
)


class StepInDoubt(BaseException):
    """An irreversible step failed in a way that leaves its outcome unknown; unwinds the node's code."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class BudgetSpent(BaseException):
    """There isn't enough left for a step: unwinds the node's code, which runs again once the budget is raised."""

    def __init__(self, step: str) -> None:
        self.step = step
        super().__init__(f"the run's budget has no room for step `{step}`; let this pass")


class Branch:
    """A line of the code's execution: the task's own (`path` empty), or one that a gathering runs.

    Attributes:
        path: what the ids of its steps begin with; depends on the code alone, not on who is faster.
        counts: how often each name was used for a step.
        busy_step: a step without a key that runs now.
        running: how many steps run now.
        failed: steps that failed, and whose failure is final if the code goes on.
        parked: waits without an answer, by step.
        unwound: waits are no use any more: whoever waits unwinds.
    """

    __slots__ = (
        "busy_step",
        "counts",
        "failed",
        "gatherings",
        "group",
        "over",
        "parked",
        "path",
        "running",
        "suspended",
        "unwound",
    )

    def __init__(self, path: str = "", *, group: "Gathering[Any] | None" = None) -> None:
        self.path = path
        self.group = group
        self.counts: dict[str, int] = {}
        self.busy_step: str | None = None
        self.running = 0
        self.failed: list[RecordStep] = []
        self.parked: dict[str, tuple[Wait, asyncio.Future[StepState]]] = {}
        self.gatherings: list[Gathering[Any]] = []
        self.over = False
        self.unwound = False
        self.suspended: tuple[Wait, ...] | None = None

    @property
    def root(self) -> "Branch":
        """The task's own line."""
        return self if self.group is None else self.group.branch.root

    def name(self, name: str, key: str | None = None) -> str:
        """The id of the next step of this name: by its key, else by its order within this branch."""
        if key is not None:
            return f"{self.path}{name}[{key}]"
        count = self.counts[name] = self.counts.get(name, 0) + 1
        return f"{self.path}{name}" if count == 1 else f"{self.path}{name}#{count}"

    @property
    def waits(self) -> bool:
        """Nothing of it works any more, and something of it waits."""
        if self.over or self.running or not (self.parked or self.gatherings):
            return False
        return all(gathering.at_rest for gathering in self.gatherings)

    def all_waits(self) -> Iterator[Wait]:
        """Everything that it and what it gathers wait for."""
        yield from (wait for wait, _ in self.parked.values())
        for gathering in self.gatherings:
            for branch in gathering.branches:
                yield from branch.all_waits()

    async def park(self, wait: Wait) -> StepState:
        """Wait for an answer while other branches work.

        Raises:
            Suspension: nothing works any more; the answer comes to a later attempt.
        """
        if self.unwound:
            raise Suspension(self.root.suspended or ())
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StepState] = loop.create_future()
        self.parked[wait.step] = (wait, future)
        loop.call_soon(self.look)  # what is started in the same breath may wait too
        try:
            return await future
        finally:
            self.parked.pop(wait.step, None)

    def look(self) -> None:
        """Something of it has come to rest: unwind what need not be held any longer."""
        branch = self
        while branch.waits and not branch.unwound:
            group = branch.group
            if group is None:
                branch.suspended = tuple(branch.all_waits())
                branch.unwind()
                return
            if not group.at_rest:
                return
            if group.broken:
                group.unwind()
                return
            branch = group.branch

    def unwind(self) -> None:
        """End every wait of it."""
        self.unwound = True
        for _, future in self.parked.values():
            if not future.done():
                future.set_exception(Suspension(self.root.suspended or ()))
        for gathering in self.gatherings:
            gathering.unwind()


class Gathering(Generic[T]):
    """Branches that run side by side."""

    def __init__(self, branch: Branch, name: str, count: int, *, keeps_errors: bool) -> None:
        self.branch = branch
        self.branches = [Branch(f"{name}/{place}/", group=self) for place in range(count)]
        self._keeps_errors = keeps_errors
        self._tasks: list[asyncio.Task[T]] = []
        self.broken = False

    @property
    def at_rest(self) -> bool:
        """Each branch is over or waits, and one at least waits."""
        waiting = False
        for branch in self.branches:
            if not branch.over:
                if not branch.waits:
                    return False
                waiting = True
        return waiting

    def unwind(self) -> None:
        """End every wait in it."""
        for branch in self.branches:
            branch.unwind()

    async def run(
        self,
        codes: Sequence[Coroutine[Any, Any, T]],
        *,
        name: str,
        survived: Callable[[Branch], Awaitable[None]],
    ) -> list[T | BaseException]:
        """Run all of them to their end; what each gave, in order, or raised if errors are kept.

        `survived` is called at the end of a branch that raised nothing. The tasks are named after `name`.

        Raises:
            Suspension: nothing works any more, and something waits.
            StepInDoubt: the outcome of an irreversible step of a branch is unknown.
            BudgetSpent: a step of a branch can't be called; what the others had begun was let end.
            Exception: the failure of the first branch, in order, that failed.
        """
        loop = asyncio.get_running_loop()
        self.branch.gatherings.append(self)
        self._tasks = [
            loop.create_task(self._run_one(branch, code, survived), name=f"{name}#{branch.path}")
            for branch, code in zip(self.branches, codes, strict=True)
        ]
        try:
            await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            self._cancel()
            await asyncio.wait(self._tasks)
            raise
        finally:
            self.branch.gatherings.remove(self)
            for branch, code in zip(self.branches, codes, strict=True):
                self.branch.failed.extend(branch.failed)
                if inspect.getcoroutinestate(code) == inspect.CORO_CREATED:
                    code.close()  # it was told to end before it began
        return self._results()

    async def _run_one(
        self, branch: Branch, code: Coroutine[Any, Any, T], survived: Callable[[Branch], Awaitable[None]]
    ) -> T:
        _current.set(branch)
        try:
            result = await code
            await survived(branch)
            return result
        except Suspension:
            raise
        except Exception:
            self.broken = self.broken or not self._keeps_errors
            raise
        except (StepInDoubt, BudgetSpent):
            self.broken = True
            raise
        except BaseException:  # told to end, or the loop was blocked: nothing beside it goes on
            self._cancel()
            raise
        finally:
            branch.over = True
            for other in self.branches:
                if not other.over:
                    other.look()
                    break

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _results(self) -> list[T | BaseException]:
        if any(task.cancelled() for task in self._tasks):
            raise asyncio.CancelledError
        errors = [task.exception() for task in self._tasks]
        ends = [e for e in errors if e is not None and not isinstance(e, Exception | Suspension)]
        if ends:
            raise next((end for end in ends if not isinstance(end, StepInDoubt)), ends[0])
        if self.branch.root.suspended is not None:
            raise Suspension(self.branch.root.suspended)
        if self.broken:
            raise next(error for error in errors if isinstance(error, Exception))
        given_up = next((error for error in errors if isinstance(error, Suspension)), None)
        if given_up is not None:  # a gathering around this one has failed
            raise given_up
        return [
            error if error is not None else task.result()
            for error, task in zip(errors, self._tasks, strict=True)
        ]


def branch_of(root: Branch) -> Branch:
    """The branch that the running code belongs to, of the task whose root this is."""
    branch = _current.get()
    return branch if branch is not None and branch.root is root else root


def enter_root() -> None:
    """In this context a task is at its root: forget the branch of whatever task came before."""
    _current.set(None)
