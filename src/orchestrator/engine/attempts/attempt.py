"""One attempt of one task: from a lease to the command that tells the kernel how it ended.

Whatever the node's code does (raise, return what can't be stored, exit, hang, swallow its cancellation), the outcome
is a command for this task and nothing else.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import BaseModel

from orchestrator.engine.attempts.blobs import NO_BLOBS
from orchestrator.engine.attempts.branches import ROLLED_BACK, BudgetSpent, StepInDoubt, Suspension
from orchestrator.engine.attempts.caching import Cache
from orchestrator.engine.attempts.context import TaskContext
from orchestrator.engine.attempts.cpu import CpuProcess
from orchestrator.engine.attempts.failures import clean, error_info
from orchestrator.engine.attempts.items import ItemSource, chunks_of, source_of
from orchestrator.engine.attempts.live import LogLine
from orchestrator.engine.attempts.payloads import decoded
from orchestrator.engine.attempts.planning import DoneBlock, around, block_of_task, lay
from orchestrator.engine.attempts.scope import TaskValues, reader_of
from orchestrator.engine.attempts.spending import NOTHING_USED
from orchestrator.engine.attempts.watchdog import LoopBlocked
from orchestrator.engine.redaction import Redactor
from orchestrator.engine.runs.actor import Accepted, Item, RunActor
from orchestrator.engine.runs.ids import successor_id
from orchestrator.errors import (
    Conflict,
    InternalError,
    LimitExceeded,
    NodeError,
    OrchestratorError,
    RetryLater,
    TaskTimeout,
    UsageError,
)
from orchestrator.kernel.commands import (
    AbandonTask,
    Command,
    CompleteTask,
    DoubtTask,
    FailTask,
    NoteLate,
    RecordStep,
    ReserveBudget,
    RouteChoice,
    SkipTask,
    StartItems,
    StartTask,
    StopRequest,
    SuspendTask,
)
from orchestrator.kernel.events import BudgetReserved
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.values import Handover, Payload, Timing, rfc3339
from orchestrator.kernel.values import Plan as LaidPlan
from orchestrator.kernel.values import Usage as Spend
from orchestrator.model.caching import CACHEABLE
from orchestrator.model.declarations import Effect
from orchestrator.model.definition import Definition, NodeDefinition
from orchestrator.model.foreach import ForEach
from orchestrator.model.limits import DURATION_SECONDS_MAX
from orchestrator.sdk.context import Usage
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.results import Continue, Plan, Route, Stop
from orchestrator.stores.contract import Blob

if TYPE_CHECKING:
    from orchestrator.engine.attempts.worker import Worker

ENDING = "ending"
TIMEOUT = "timeout"
LEASE_LOST = "lease"
"""Why an attempt was told to end."""

_UNWIND_SECONDS = 5.0
"""How long code may take to end after it was cancelled, before its outcome is recorded without it."""

_OWN_TIMER_US = 60_000_000
"""Up to this timeout an attempt has a timer of its own; a longer one is noticed by the worker's slow poll."""

log: Any = structlog.get_logger("orchestrator.task")


class Attempt:
    """See the module. Made when the lease is there; `start` runs it, `ended` of the worker hears of its command."""

    __slots__ = (
        "_around",
        "_block",
        "_ctx",
        "_grounded",
        "_item",
        "_outcome",
        "_refused",
        "_silent",
        "_task",
        "_timer",
        "_touched",
        "actor",
        "announced",
        "blobs_to_commit",
        "cache",
        "careful",
        "depth",
        "epoch",
        "give_back_note",
        "granted_us",
        "node",
        "number",
        "params_written",
        "path",
        "pure",
        "queued_us",
        "reason",
        "rolled_back",
        "run_id",
        "running",
        "started_us",
        "task",
        "values",
        "worker",
        "workflow",
    )

    def __init__(
        self,
        worker: "Worker",
        actor: RunActor,
        state: RunState,
        task: TaskState,
        definition: Definition,
        *,
        epoch: int,
        queued_us: int,
        now_us: int,
    ) -> None:
        self.worker = worker
        self.actor = actor
        self.run_id = state.run_id
        self.workflow = state.workflow
        self.depth = state.depth
        self.path = task.path
        self.number = task.attempt
        self.node: NodeDefinition = definition.nodes[task.node]
        self.params_written: Mapping[str, Any] = self.node.params_written
        self._block = block_of_task(state, task)
        self._around = around(definition, state, task) if self.node.may_use is not None else frozenset[str]()
        self.epoch = epoch
        self.queued_us = queued_us
        self.granted_us = self.started_us = now_us
        self._item: ItemSource | None = source_of(state, task)
        self.values = TaskValues(state, reader_of(state, task, self.node), NO_BLOBS)
        self.blobs_to_commit: list[Blob] = []
        self.reason: str | None = None
        self.give_back_note: str | None = None
        self.announced = False
        self.pure = self.careful = self.rolled_back = False
        self.running = False
        self.cache: Cache | None = None
        self.task: asyncio.Task[None] | None = None
        self._ctx: TaskContext | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._outcome = self._silent = False
        self._refused = False
        self._touched = False
        self._grounded: asyncio.Future[None] | None = None
        self._task = task

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self, state: RunState) -> None:
        """Run it as a task of the event loop."""
        payloads = self.values.outside()
        if self._item is not None and not self._item.payload.inline:
            payloads.append(self._item.payload)
        loop = self.worker.engine.loop
        # Not by the loop's factory: that is for what the node's code starts.
        self.task = asyncio.Task(
            self._run(payloads),
            loop=loop,
            name=f"{self.run_id}/{self.path}",
            context=self.worker.context.copy(),
        )

    def tell(self, reason: str) -> None:
        """Ask the attempt to end. Its first reason counts."""
        if self.reason is not None or self._outcome:
            return
        self.reason = reason
        if self._ctx is not None:
            self._ctx.cancelled = True
        if self.task is not None and not self.task.done():
            self.task.cancel()
        if reason == TIMEOUT:
            self.worker.engine.loop.call_later(_UNWIND_SECONDS, self._give_up_on_code)

    def lose(self) -> None:
        """It ran ahead of the disk, and that counts no more."""
        self.tell(LEASE_LOST)

    def adopt(self, epoch: int) -> bool:
        """It ran ahead of the disk, and what it builds on is durable now: it has a lease from here on. False: it was
        told to end meanwhile, and did so without a word."""
        if self._silent:
            return False
        self.epoch, self.granted_us = epoch, self.now_us()
        self.worker.adopted(self)
        if self._grounded is not None and not self._grounded.done():
            self._grounded.set_result(None)
        return True

    async def grounded(self) -> None:
        """Wait until everything that this attempt builds on is durable. With a lease it is."""
        while not self.epoch:
            self._grounded = self.worker.engine.loop.create_future()
            self.actor.write_ahead()
            await self._grounded

    def _give_up_on_code(self) -> None:
        if not self._outcome:
            log.warning(
                "the code ignores its cancellation; going on without it", run=self.run_id, task=self.path
            )
            self._end(self._told())

    async def _run(self, blob_payloads: Sequence[Payload]) -> None:
        try:
            if blob_payloads:
                blobs = await self.worker.engine.blobs.fetch(blob_payloads, run_id=self.run_id)
                self.values.add_blobs(blobs)
            command = await self._outcome_of()
        except asyncio.CancelledError:
            command = self._told()
        except BudgetSpent as spent:
            if self._touched:
                why = (
                    f"the budget has no room for step `{spent.step}`, and the irreversible attempt had begun"
                )
                command = DoubtTask(path=self.path, reason=why)
            else:
                self.give_back_note = f"step `{spent.step}` needs more budget than is left"
                command = None
        except Suspension as suspension:
            command = SuspendTask(path=self.path, waits=suspension.waits)
            suspension.__traceback__ = None  # else what waits lives on in a ring of frames
        except StepInDoubt as doubt:
            command = DoubtTask(path=self.path, reason=self.said(doubt.reason))
        except LoopBlocked:
            command = self._failed(BlockedLoop(self.worker.engine.config.blocked_after_seconds))
        except RetryLater as later:
            command = self._failed(later, later_us=self._later_us(later.delay_seconds))
        except BaseException as error:  # noqa: BLE001 -- the one edge that records a task's failure, SystemExit too
            command = self._failed(error)
        self._end(command)

    def _end(self, command: Command | None) -> None:
        if self._outcome:
            return
        self._outcome = True
        self._silent = command is None
        self.running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._ctx is not None and command is not None:
            self._ctx.hand_in()
        self._ctx = None  # which knows the attempt: a ring of objects is freed late, by the garbage collector
        self.worker.ended(self, command)

    async def _outcome_of(self) -> Command:
        task, node, worker = self._task, self.node, self.worker
        if task.started or task.open_step is not None:
            return DoubtTask(
                path=self.path, reason="the worker that ran the attempt is gone, its outcome is unknown"
            )
        if self._block is not None:
            return self._block_done(self._block)
        secrets = worker.engine.config.secrets
        if self._item is not None:
            self.values.item = self._read_item
        elif node.when is not None and not node.when.evaluate(self.values.scope(node.references, secrets)):
            return SkipTask(path=self.path)
        if node.for_each is not None and self._item is None:
            return self._items(node.for_each)
        node_class = worker.engine.registry.get(node.declaration.name)
        if not self.params_written:
            written: Mapping[str, Any] = {}
        elif node.params.constant:
            written = node.params.evaluate({})
        else:
            written = node.params.evaluate(self.values.scope(node.references, secrets))
        params = node_class.parse_params(written)
        if node.cache is not None and _effect_of(node_class, params, node) in CACHEABLE:
            self.cache = Cache(self, written)
            if (hit := await self.cache.look()) is not None:
                return hit
        if not node_class.cpu:
            return await self._execute(node_class, params, written, None)
        async with worker.cpu.slot() as process:
            return await self._execute(node_class, params, written, process)

    async def _execute(
        self, node_class: type[BaseNode], params: Any, written: Mapping[str, Any], process: CpuProcess | None
    ) -> Command:
        """Run the node's code: on the loop, in a thread, or in this process of its own."""
        task, node, worker = self._task, self.node, self.worker
        effect = _effect_of(node_class, params, node)
        self.pure = effect is Effect.PURE and not self.careful
        if effect is Effect.IRREVERSIBLE:
            await self.record(StartTask(path=self.path, worker=worker.name))
            self._touched = True
            if self.rolled_back:
                return DoubtTask(path=self.path, reason=ROLLED_BACK)
        ctx = self._ctx = TaskContext(self, task, node)
        self._arm_timeout()
        self.running = True
        worker.announcer.began(self)
        if process is not None:
            result = await self.in_thread(lambda: process.run(node_class, written, ctx))
        elif node_class.is_async:
            result = await node_class().execute(params, ctx)
        else:
            result = await self.in_thread(lambda: node_class().execute(params, ctx))
        if self.reason is not None and self.reason != ENDING:
            # Too late; of a run that is stopping a result is taken.
            if self._touched:
                self.came_late(self._completed(node_class, result, ctx))
            raise asyncio.CancelledError
        if ctx.has_unfinished:
            await ctx.finish()
        completed = self._completed(node_class, result, ctx)
        return completed if self.cache is None else self.cache.keeps(completed, ctx)

    def _block_done(self, block: DoneBlock) -> Command:
        """The plan that this task laid is done: put together what it gives. The node's own code isn't run again."""
        if block.output is not None:
            output = block.output.evaluate(self.values.scope(block.output.references, {}))
        else:
            outputs = self.values.outputs()
            output = next(iter(outputs.values())) if len(outputs) == 1 else outputs
        payload, blobs = self.encode(output)
        self.blobs_to_commit.extend(blobs)
        return CompleteTask(path=self.path, output=payload, timing=self.timing())

    def _items(self, rule: ForEach) -> Command:
        """The command that begins with the items of a `for_each`."""
        value = rule.items.evaluate(self.values.scope(rule.items.references, {}))
        chunks, blobs = chunks_of(
            value,
            codec=self.worker.engine.codec,
            run_id=self.run_id,
            pointer=f"/nodes/{self.node.id}/for_each",
        )
        self.blobs_to_commit.extend(blobs)
        return StartItems(path=self.path, chunks=chunks, timing=self.timing())

    def _read_item(self) -> Any:
        source = self._item
        assert source is not None
        data = self.values.data(source.payload)
        return self.worker.engine.items.read(source.payload, data, source.place)

    def enough(self, output: Payload, blobs: Sequence[Blob]) -> bool | int | None:
        """What `complete_when` says after this item."""
        rule = self.node.for_each
        if self._item is None or rule is None or rule.enough is None:
            return None
        self.know_blobs(blobs)
        scope = self.values.scope(rule.enough.references, {})
        if rule.enough.references.output:
            scope["output"] = self.values.read(output)
        said = rule.enough.evaluate(scope)
        return said if isinstance(said, int) else bool(said)

    def _arm_timeout(self) -> None:
        self.started_us = self.now_us()
        if self.node.timeout_us <= _OWN_TIMER_US:
            seconds = self.node.timeout_us / 1_000_000
            self._timer = self.worker.engine.loop.call_later(seconds, self.tell, TIMEOUT)

    def overdue(self, now_us: int) -> bool:
        """Whether the node's code runs longer than its timeout."""
        return self.running and now_us - self.started_us > self.node.timeout_us

    def came_late(self, command: Command, blobs: Sequence[Blob] = ()) -> None:
        """The lease is gone, or the time is up, and yet there is a result: if the task is in doubt because of that,
        whoever resolves it should see what came out."""
        step = None
        if isinstance(command, RecordStep) and command.effect == Effect.IRREVERSIBLE.value:
            result, step = command.result, command.step
        elif isinstance(command, CompleteTask) and self._touched:
            result = command.output
        else:
            return
        engine = self.worker.engine
        if result is not None and self.reason in (LEASE_LOST, TIMEOUT) and not engine.closing:
            note = NoteLate(
                path=self.path, attempt=self.number, result=result, step=step, worker=self.worker.name
            )
            engine.spawn(self._note(note, [*self.blobs_to_commit, *blobs]), name=f"late {self.run_id}")

    async def _note(self, note: NoteLate, blobs: Sequence[Blob]) -> None:
        try:
            await self.worker.engine.command(self.run_id, note, blobs=blobs)
        except OrchestratorError as refusal:
            log.info("nobody asks for a late result", run=self.run_id, task=self.path, why=str(refusal))

    def _completed(self, node_class: type[BaseNode], result: Any, ctx: TaskContext) -> CompleteTask:
        route: RouteChoice | None = None
        stop: StopRequest | None = None
        handover: Handover | None = None
        plan: LaidPlan | None = None
        plan_reason: str | None = None
        output = result
        if isinstance(result, Route):
            route = RouteChoice(
                targets=result.targets,
                reason=None if result.reason is None else self.said(result.reason),
                confidence=result.confidence,
                by=result.by,
                model=result.model,
                prompt_sha256=result.prompt_sha256,
                usage=dict(result.usage) if result.usage is not None else None,
                cost_usd=result.cost_usd,
            )
            output = result.output
        elif isinstance(result, Stop):
            message = None if result.message is None else self.said(result.message)
            stop = StopRequest(succeed=result.succeed, message=message)
            output = result.output
        elif isinstance(result, Continue):
            payload, blobs = self.encode(result.input)
            self.blobs_to_commit.extend(blobs)
            handover = Handover(run=successor_id(self.run_id), input=payload, latest=result.latest)
            output = None
        elif isinstance(result, Plan):
            plan = lay(result, self.node, self.worker.engine.registry.declarations(), self._around)
            plan_reason = None if result.reason is None else self.said(result.reason)
            output = None
        if output is result or isinstance(output, BaseModel):
            output = node_class.dump_output(output)
        payload, blobs = self.encode(output)
        self.blobs_to_commit.extend(blobs)
        enough = self.enough(payload, blobs)
        variables: dict[str, Payload] = {}
        for name, value in ctx.new_variables.items():
            variables[name], blobs = self.encode(value)
            self.blobs_to_commit.extend(blobs)
        return CompleteTask(
            path=self.path,
            output=payload,
            route=route,
            stop=stop,
            handover=handover,
            plan=plan,
            plan_reason=plan_reason,
            variables=variables,
            enough=enough,
            timing=self.timing(),
        )

    def _failed(self, error: BaseException, *, later_us: int | None = None) -> Command:
        return FailTask(
            path=self.path,
            error=error_info(error, self._task, self.redactor),
            draw=self.worker.engine.random.random(),
            later_us=later_us,
            timing=self.timing(),
        )

    def _told(self) -> Command | None:
        """The command for an attempt that was told to end; None: the lease is gone, there is nothing to say."""
        if self.reason == TIMEOUT:
            return self._failed(TaskTimeout(self.node.timeout_us / 1_000_000))
        if self.reason == ENDING:
            return AbandonTask(path=self.path)
        if self.reason is None:
            return self._failed(OwnCancellation())
        return None

    def timing(self) -> Timing:
        """Who ran it, and when."""
        return Timing(
            worker=self.worker.name,
            queued_at=rfc3339(self.queued_us),
            started_at=rfc3339(self.started_us),
            usage=self._usage(),
        )

    def _usage(self) -> dict[str, float] | None:
        """What the code used beside its steps."""
        spent = self._ctx.spent if self._ctx is not None else NOTHING_USED
        if spent is NOTHING_USED:
            return None
        named = {"tokens": spent.tokens, "cost_usd": spent.cost_usd}
        return {name: amount for name, amount in named.items() if amount} or None

    def _later_us(self, seconds: float | None) -> int:
        """When to try again, whatever the node's code asked for."""
        if seconds is None or not seconds >= 0:  # not a number, either
            return self.node.retry.initial_us
        return round(min(seconds, DURATION_SECONDS_MAX) * 1_000_000)

    def unrecordable(self, error: BaseException) -> Command | None:
        """The failure to tell of instead of a result that nobody could write down; None if it is one itself."""
        if self._refused:
            return None
        self._refused = True
        return self._failed(error)

    # --- what the context needs -------------------------------------------------------------------------------------

    @property
    def redactor(self) -> Redactor:
        """Hides secrets."""
        return self.worker.engine.redactor

    def now_us(self) -> int:
        """The store's time."""
        return self.worker.now_us()

    def encode(self, value: Any) -> tuple[Payload, list[Blob]]:
        """A value as a payload of this run."""
        return self.worker.engine.codec.encode(value, run_id=self.run_id)

    def know_blobs(self, blobs: Sequence[Blob]) -> None:
        """Blobs that were just written are read back without asking the store."""
        if blobs:
            self.values.add_blobs({(self.run_id, blob.blob_id): decoded(blob) for blob in blobs})

    def in_thread(self, fn: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Run plain code beside the loop."""
        return self.worker.threads.run(fn)

    async def reserve(self, step: str, usage: Usage) -> bool:
        """Set aside what a step may use, durably; False: there isn't enough left, and the run pauses or stops.

        Raises:
            asyncio.CancelledError: the task is no longer ours, or is to end.
        """
        wanted = Spend(tokens=usage.tokens, cost_usd=usage.cost_usd)
        accepted = await self.record(ReserveBudget(path=self.path, step=step, usage=wanted))
        if any(isinstance(event, BudgetReserved) for event in accepted.events):
            return True
        if accepted.state.ending is not None:
            self.reason = self.reason or ENDING
            raise asyncio.CancelledError
        return False

    def post(self, command: Command, blobs: Sequence[Blob] = ()) -> "asyncio.Future[Accepted]":
        """Hand a command in that stands on the lease and keeps it; nobody has to wait for its answer."""
        future: asyncio.Future[Accepted] = self.worker.engine.loop.create_future()

        def done(result: Accepted | BaseException) -> None:
            if future.done():
                return
            if isinstance(result, BaseException):
                future.set_exception(result)
                future.exception()  # if nobody asks, it is no loss: what is written with it is refused as well
            else:
                future.set_result(result)

        self.actor.post(
            Item(command, done, path=self.path, epoch=self.epoch, finish=False, blobs=blobs, attempt=self)
        )
        return future

    async def record(self, command: Command, blobs: Sequence[Blob] = ()) -> Accepted:
        """Make a step (or a start) durable before the code goes on.

        Raises:
            asyncio.CancelledError: the task is no longer ours; the code is unwound.
            UsageError, LimitExceeded, InternalError: it can't be written down.
        """
        future = self.post(command, blobs)
        await self.written((future,))
        return future.result()

    async def written(self, futures: "Sequence[asyncio.Future[Accepted]]") -> None:
        """Wait until what was posted is durable. Raises as `record`."""
        await asyncio.wait(futures)
        try:
            for future in futures:
                future.result()
        except Conflict as refusal:
            if self.reason is None:
                self.reason = ENDING if refusal.reason == "stopping" else LEASE_LOST
            raise asyncio.CancelledError from refusal
        except (UsageError, LimitExceeded, InternalError):
            raise
        except OrchestratorError as lost:
            log.info("a step came too late", run=self.run_id, task=self.path, why=str(lost))
            if self.reason is None:
                self.reason = LEASE_LOST
            raise asyncio.CancelledError from lost

    def said(self, text: str) -> str:
        """Words of the node's code as they may be kept: no secrets, and nothing that a store can't take."""
        return clean(self.redactor.redact(text))

    def log(self, message: str, level: str) -> None:
        """A line of the task's log."""
        line = LogLine(at=rfc3339(self.now_us()), level=level, message=self.said(message))
        self.worker.announcer.log_line(self, line)

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """How far it is."""
        self.worker.announcer.progressed(self, done, total, None if message is None else self.said(message))


class OwnCancellation(OrchestratorError):
    """The node's code cancelled itself: an asyncio.CancelledError that nobody asked for."""

    code = "cancelled_error"

    def __init__(self) -> None:
        super().__init__("the node's code was cancelled by itself (asyncio.CancelledError)")


class BlockedLoop(NodeError):
    """The node's code kept the event loop from running; everything else in the process stood still."""

    code = "blocked_loop"
    retryable = False

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the node's code blocked the event loop for more than {seconds:g} s; await what takes long, or write a "
            "plain `def execute`, which runs in a thread"
        )


def _effect_of(node_class: type[BaseNode], params: BaseModel, node: NodeDefinition) -> Effect:
    """What the class says of these params, or what the document tightens that to. A class that has become less careful
    than the version is pinned to isn't asked: until the workflow is saved again, what the version says holds."""
    pinned, least, effect = node.declaration.effect, node.effect_min, node_class.effect
    less_careful = effect is not pinned and effect.rank < pinned.rank
    effect = pinned if less_careful else node_class.effect_for(params)
    return effect if effect is least or effect.rank >= least.rank else least
