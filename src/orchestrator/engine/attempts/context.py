"""The context of one attempt: how a node's code sees its run, and asks for durable things (`sdk.Context`).

Steps are matched by branch, then by key, else by name and order, and their arguments are compared by hash. A wait that
has no answer yet parks its branch; once all of them wait, `Suspension` unwinds the node's code, and the attempt's
runner suspends the task.
"""

import asyncio
import functools
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from orchestrator.engine.attempts.branches import (
    ROLLED_BACK,
    Branch,
    BudgetSpent,
    Gathering,
    StepInDoubt,
    branch_of,
)
from orchestrator.engine.attempts.failures import clean, describe, raise_again, step_error_info
from orchestrator.engine.attempts.payloads import to_json
from orchestrator.engine.attempts.spending import METER, NOTHING_USED, Meter, check_usage
from orchestrator.engine.runs.actor import Accepted
from orchestrator.errors import NotFound, PermanentFailure, RetryLater, StepMismatch, UsageError
from orchestrator.kernel.commands import RecordStep, SettleBudget, StartStep
from orchestrator.kernel.state import StepState, TaskState
from orchestrator.kernel.values import ErrorInfo, Wait, rfc3339
from orchestrator.model.declarations import Effect
from orchestrator.model.definition import NodeDefinition
from orchestrator.model.grafts import local_id, node_of
from orchestrator.sdk.context import Arrival, LogLevel, Usage
from orchestrator.sdk.errors import ChildFailed, SignalTimeout
from orchestrator.stores.contract import Blob

if TYPE_CHECKING:
    from orchestrator.engine.attempts.attempt import Attempt

STEP_NAME_CHARACTERS_MAX = 220
"""Longer than a signal's or workflow's name, which a wait takes for its own with a word before it."""

ARGUMENTS_SHOWN_MAX = 200
"""Characters of a step's arguments in the error of a mismatch."""

_KEPT = ("gather/", "gather#", "ctx.")
"""What ids of branches and of recorded values begin with."""


def _once(read: "Callable[[TaskContext], Any]") -> "Callable[[TaskContext], Any]":
    """Read a value at the first look and keep it: a node sees one object however often it looks."""
    name = read.__name__

    @functools.wraps(read)
    def kept(self: "TaskContext") -> Any:
        seen = self.seen
        if name not in seen:
            seen[name] = read(self)
        return seen[name]

    return kept


class TaskContext:
    """Implements `sdk.Context` for one attempt."""

    __slots__ = (
        "_attempt",
        "_drawn",
        "_node",
        "_on_their_way",
        "_own",
        "_task",
        "_under_way",
        "cancelled",
        "new_variables",
        "seen",
        "spent",
        "steps",
    )

    def __init__(self, attempt: "Attempt", task: TaskState, node: NodeDefinition) -> None:
        self._attempt = attempt
        self._task = task
        self._node = node
        self._own: Branch | None = None
        self._under_way: set[str] = set()
        self._drawn: list[RecordStep] = []
        self._on_their_way: list[asyncio.Future[Accepted]] = []
        self.cancelled = False
        self.spent = NOTHING_USED
        self.seen: dict[str, Any] = {}
        self.new_variables: dict[str, Any] = {}
        self.steps: dict[str, StepState] = dict(task.steps) if task.steps else {}

    @property
    def _root(self) -> Branch:
        """The task's own line; most tasks have no steps and do without."""
        if self._own is None:
            self._own = Branch()
        return self._own

    # --- what it sees -----------------------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        return self._attempt.run_id

    @property
    def workflow(self) -> str:
        return self._attempt.values.run["workflow"]

    @property
    def version(self) -> int:
        return self._attempt.values.run["version"]

    @property
    def labels(self) -> Mapping[str, str]:
        return self._attempt.values.run["labels"]

    @property
    def node_id(self) -> str:
        return self._task.node

    @property
    def path(self) -> str:
        return self._task.path

    @property
    def attempt(self) -> int:
        return self._attempt.number

    @property
    def max_attempts(self) -> int:
        return self._node.retry.max_attempts

    @property
    @_once
    def input(self) -> Any:
        return self._attempt.values.input()

    @property
    @_once
    def previous(self) -> Any:
        return self._attempt.values.previous()

    @property
    @_once
    def arrivals(self) -> Sequence[Arrival]:
        values = self._attempt.values
        origin = values.previous_origin
        if origin.sources is not None:
            found = [
                Arrival(local_id(source), values.output(one.path), one.path)
                for source, several in origin.sources.items()
                for one in several
                if one.path is not None
            ]
            return tuple(found)
        if origin.path is None:
            return ()
        return (Arrival(local_id(node_of(origin.path)), values.output(origin.path), origin.path),)

    @property
    @_once
    def variables(self) -> Mapping[str, Any]:
        return self._attempt.values.variables()

    @property
    def params_written(self) -> Mapping[str, Any]:
        return self._attempt.params_written

    @property
    def allowed_routes(self) -> tuple[str, ...]:
        return self._node.allowed

    @property
    def idempotency_key(self) -> str:
        return f"{self.run_id}/{self.path}"

    @property
    def sub_depth(self) -> int:
        return self._attempt.depth

    def step_idempotency_key(self, name: str, /) -> str:
        return f"{self.idempotency_key}#{branch_of(self._root).path}{name}"

    # --- live -------------------------------------------------------------------------------------------------------

    def log(self, message: str, /, *, level: LogLevel = "info", **fields: Any) -> None:
        tail = "".join(f" {name}={value!r}" for name, value in fields.items())
        self._attempt.log(f"{message}{tail}", level)

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self._attempt.progress(done, total, message)

    def set_variables(self, /, **values: Any) -> None:
        for name in values:
            self._check_name("a variable's name", name)
        self.new_variables.update(values)

    # --- steps ------------------------------------------------------------------------------------------------------

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        effect: Effect = Effect.WRITE,
        reserve: Usage | None = None,
        **kwargs: Any,
    ) -> Any:
        if reserve is not None:
            check_usage(reserve, least=1)
        branch = branch_of(self._root)
        step = self._name_step(branch, name, key)
        digest = _digest(args, kwargs)
        recorded = self.steps.get(step)
        if recorded is not None:
            return self._answer(step, name, digest, recorded, _shown(args, kwargs))
        if step in self._under_way:
            raise StepMismatch(f"step `{step}` runs already; steps at the same time need a `key` each")
        if branch.busy_step is not None and key is None:
            raise StepMismatch(
                f"step `{step}` begins while step `{branch.busy_step}` runs; "
                "run them as branches of `ctx.gather`, or give each a `key`"
            )
        before, branch.busy_step = branch.busy_step, step if key is None else branch.busy_step
        self._under_way.add(step)
        branch.running += 1
        try:
            await self._flush_failed(branch)
            call = functools.partial(fn, *args, **kwargs)
            return await self._run_step(branch, step, name, digest, effect, call, reserve)
        finally:
            self._under_way.discard(step)
            branch.running -= 1
            branch.busy_step = before
            if branch.parked:
                branch.look()

    async def _run_step(
        self,
        branch: Branch,
        step: str,
        name: str,
        digest: str,
        effect: Effect,
        call: "functools.partial[Any]",
        reserve: Usage | None,
    ) -> Any:
        attempt = self._attempt
        irreversible = effect is Effect.IRREVERSIBLE
        if reserve is not None and not await attempt.reserve(step, reserve):
            raise BudgetSpent(step)
        if irreversible:
            await self._record(StartStep(path=self.path, step=step, name=name, args_sha256=digest))
            if attempt.rolled_back:
                raise StepInDoubt(ROLLED_BACK)
        elif effect is not Effect.PURE:
            self.hand_in()
            await attempt.grounded()
            if self._on_their_way:  # what it may build on is durable before it looks at the world
                await attempt.written(self._on_their_way)
        started_at = rfc3339(attempt.now_us())
        record = functools.partial(
            RecordStep,
            path=self.path,
            step=step,
            name=name,
            args_sha256=digest,
            effect=effect.value,
            started_at=started_at,
        )
        meter = Meter()
        before = METER.set(meter)
        try:
            if inspect.iscoroutinefunction(call.func):
                result = await call()
            else:
                result = await attempt.in_thread(call)
                if inspect.isawaitable(result):
                    result = await result
            payload, blobs = attempt.encode(result)
        except RetryLater:
            await self._settle(step, reserve, meter)
            raise
        except PermanentFailure as error:
            if irreversible:
                raise StepInDoubt(f"the irreversible step `{step}` failed: {describe(error)}") from error
            info = step_error_info(error, self._task, attempt.redactor)
            await self._record(record(error=info, usage=meter.usage))
            self._remember(step, name, digest, error=info)
            raise
        except Exception as error:
            if irreversible:
                raise StepInDoubt(f"the irreversible step `{step}` failed: {describe(error)}") from error
            await self._settle(step, reserve, meter)
            # Recorded only if the node's code goes on all the same: then it is the step's final answer.
            branch.failed.append(record(error=step_error_info(error, self._task, attempt.redactor)))
            raise
        finally:
            METER.reset(before)
        command = record(result=payload, usage=meter.usage)
        try:
            await self._record(command, blobs)
        except asyncio.CancelledError:
            attempt.came_late(command, blobs)
            raise
        self._remember(step, name, digest)
        self.steps[step].result = payload
        attempt.know_blobs(blobs)
        return attempt.values.read(payload)

    async def _record(self, command: StartStep | RecordStep, blobs: Sequence[Blob] = ()) -> None:
        """Make it durable, and with it the values that were drawn before."""
        self.hand_in()
        await self._attempt.record(command, blobs)

    async def _settle(self, step: str, reserve: Usage | None, meter: Meter) -> None:
        """A call that leaves no answer behind has used something all the same."""
        if reserve is not None or meter.usage is not None:
            await self._attempt.record(SettleBudget(path=self.path, step=step, usage=meter.usage))

    def used(self, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        more = Usage(tokens=tokens, cost_usd=cost_usd)
        check_usage(more, least=0)
        meter = METER.get()
        if meter is not None:
            meter.add(more)
        else:
            self.spent = Usage(tokens=self.spent.tokens + tokens, cost_usd=self.spent.cost_usd + cost_usd)

    async def _flush_failed(self, branch: Branch) -> None:
        failed, branch.failed = branch.failed, []
        for one in failed:
            if one.step not in self.steps:
                await self._record(one)
                self._remember(one.step, one.name, one.args_sha256, error=one.error)

    @property
    def has_unfinished(self) -> bool:
        """Whether there is anything for `finish` to do."""
        return self._own is not None and bool(self._own.failed)

    async def finish(self) -> None:
        """The node's code returned: a failed step that it survived has its final answer."""
        await self._flush_failed(self._root)

    # --- branches ---------------------------------------------------------------------------------------------------

    async def gather(self, *branches: Coroutine[Any, Any, Any], return_exceptions: bool = False) -> list[Any]:
        wrong = next((place for place, code in enumerate(branches) if not inspect.iscoroutine(code)), None)
        if wrong is not None:
            for code in branches:
                if inspect.iscoroutine(code):
                    code.close()
            raise UsageError(
                f"ctx.gather: branch {wrong} is a {type(branches[wrong]).__name__}; hand over coroutines "
                "(`ctx.gather(fetch(ctx, 1), fetch(ctx, 2))`), which begin within it"
            )
        if not branches:
            return []
        branch = branch_of(self._root)
        name = branch.name("gather")
        gathering = Gathering[Any](branch, name, len(branches), keeps_errors=return_exceptions)
        return await gathering.run(branches, name=f"{self.run_id}/{self.path}", survived=self._flush_failed)

    # --- what comes out otherwise every time -------------------------------------------------------------------------

    def now(self) -> datetime:
        return datetime.fromisoformat(self._draw("now", lambda: rfc3339(self._attempt.now_us())))

    def random(self) -> float:
        return self._draw("random", self._attempt.worker.engine.random.random)

    def uuid(self) -> UUID:
        rng = self._attempt.worker.engine.random
        return UUID(self._draw("uuid", lambda: str(UUID(int=rng.getrandbits(128), version=4))))

    def _draw(self, word: str, fresh: Callable[[], Any]) -> Any:
        """A value that was recorded at this place, else a fresh one, which is recorded with the next commit."""
        name = f"ctx.{word}"
        step = branch_of(self._root).name(name)
        recorded = self.steps.get(step)
        if recorded is not None:
            return self._answer(step, name, "", recorded, "")
        value = fresh()
        payload, _ = self._attempt.encode(value)
        at = rfc3339(self._attempt.now_us())
        drawn = RecordStep(
            path=self.path, step=step, name=name, effect=Effect.PURE.value, result=payload, started_at=at
        )
        self._drawn.append(drawn)
        self.steps[step] = StepState(name=name, result=payload)
        return value

    def hand_in(self) -> None:
        """Post the values that were drawn, so that the commit of what is posted next holds them too."""
        if not (self._drawn or self._on_their_way):
            return
        drawn, self._drawn = self._drawn, []
        left = [future for future in self._on_their_way if not future.done()]
        self._on_their_way = left + [self._attempt.post(command) for command in drawn]

    def _remember(self, step: str, name: str, digest: str, *, error: ErrorInfo | None = None) -> None:
        self.steps[step] = StepState(name=name, args_sha256=digest, error=error)

    def _name_step(self, branch: Branch, name: str, key: str | None) -> str:
        self._check_name("a step's name", name)
        if name.startswith(_KEPT):
            raise UsageError(
                f"a step's name can't begin with `{_KEPT[0]}`, `{_KEPT[1]}` or `{_KEPT[2]}`: {name}"
            )
        if key is not None:
            self._check_name("a step's key", key)
        return branch.name(name, key)

    def _check_name(self, what: str, text: object) -> None:
        """Names stand in the journal, as they are.

        Raises:
            UsageError: it is no text, empty, too long, holds what can't be stored, or a secret.
        """
        if not isinstance(text, str) or not 0 < len(text) <= STEP_NAME_CHARACTERS_MAX:
            shown = f"{len(text):,}" if isinstance(text, str) else f"a {type(text).__name__}"
            raise UsageError(f"{what} has 1 to {STEP_NAME_CHARACTERS_MAX} characters, not {shown}")
        if clean(text) != text:
            raise UsageError(f"{what} can't be stored: {clean(text)!r} holds NUL or half a character")
        if self._attempt.redactor.redact(text) != text:
            raise UsageError(f"{what} holds a secret; use another text")

    def _answer(self, step: str, name: str, digest: str, recorded: StepState, shown: str) -> Any:
        if recorded.name != name or recorded.args_sha256 not in ("", digest):
            raise StepMismatch(
                f"step `{step}` of `{self.path}`: the journal has `{recorded.name}` with "
                f"{_hashed(recorded.args_sha256)}, the code asks for `{name}` with {_hashed(digest)}{shown}; "
                "a recorded step's name and arguments must stay the same"
            )
        if recorded.error is not None:
            raise raise_again(recorded.error)
        return self._attempt.values.read(recorded.result)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float | timedelta, /, *, key: str | None = None) -> None:
        delay_us = _microseconds(seconds)
        await self._wait("sleep", key, lambda step: Wait(step=step, kind="timer", due_us=self._due(delay_us)))

    async def sleep_until(self, moment: datetime, /, *, key: str | None = None) -> None:
        if moment.tzinfo is None:
            raise UsageError(
                f"sleep_until({moment!r}): the time has no time zone; add one, such as datetime.UTC"
            )
        span = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        due_us = span // timedelta(microseconds=1)
        await self._wait("sleep_until", key, lambda step: Wait(step=step, kind="timer", due_us=due_us))

    async def wait_for_signal(
        self,
        name: str,
        /,
        *,
        timeout: float | timedelta | None = None,
        fresh: bool = False,
        key: str | None = None,
    ) -> Any:
        limit_us = None if timeout is None else _microseconds(timeout)

        def wait(step: str) -> Wait:
            due_us = None if limit_us is None else self._due(limit_us)
            return Wait(step=step, kind="signal", name=name, due_us=due_us, fresh=fresh)

        recorded = await self._wait(f"signal:{name}", key, wait)
        if recorded.error is not None:
            seconds = None if limit_us is None else limit_us / 1_000_000
            raise SignalTimeout(name, timeout_seconds=seconds)
        return self._attempt.values.read(recorded.result)

    async def run_workflow(
        self, name: str, input: Any = None, /, *, version: int | None = None, key: str | None = None
    ) -> Any:
        def wait(step: str) -> Wait:
            payload, blobs = self._attempt.encode(input)
            self._attempt.blobs_to_commit.extend(blobs)
            run = child_id(self.run_id, self.path, step, self._task.generation)
            return Wait(step=step, kind="child", run=run, workflow=name, version=version, input=payload)

        recorded = await self._wait(f"workflow:{name}", key, wait)
        error = recorded.error
        if error is None:
            return self._attempt.values.read(recorded.result)
        if error.type == NotFound.code:
            raise NotFound("workflow", name)
        status = "cancelled" if error.type == "child_cancelled" else "failed"
        raise ChildFailed(name, status=status, error={"type": error.type, "message": error.message})

    async def _wait(self, name: str, key: str | None, make: Callable[[str], Wait]) -> StepState:
        branch = branch_of(self._root)
        step = self._name_step(branch, name, key)
        recorded = self.steps.get(step)
        if recorded is not None:
            return recorded
        await self._flush_failed(branch)
        known = self._task.waits.get(step)
        return await branch.park(known if known is not None else make(step))

    def _due(self, delay_us: int) -> int:
        return self._attempt.now_us() + delay_us


def child_id(run_id: str, path: str, step: str, generation: int) -> str:
    """The id of a child run: the same however often the parent's code asks for it."""
    text = f"{run_id}\0{path}\0{step}\0{generation}"
    return "run_" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _digest(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    if not args and not kwargs:
        return ""
    return hashlib.sha256(to_json([args, dict(sorted(kwargs.items()))])).hexdigest()[:16]


def _hashed(digest: str) -> str:
    return f"arguments {digest}" if digest else "no arguments"


def _shown(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The arguments as the error of a mismatch shows them; the error itself is redacted like any other."""
    if not args and not kwargs:
        return ""
    text = to_json([*args, kwargs] if kwargs else list(args)).decode()[1:-1]
    return f" ({text if len(text) <= ARGUMENTS_SHOWN_MAX else text[:ARGUMENTS_SHOWN_MAX] + '…'})"


def _microseconds(span: float | timedelta) -> int:
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if not 0 <= seconds < 100 * 366 * 86_400:
        raise UsageError(f"a wait of {seconds} s can't be meant; use 0 s to 100 years")
    return round(seconds * 1_000_000)
