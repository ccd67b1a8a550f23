"""Delivers messages between runs: the receiving run records it first, then the row leaves the sender's queue."""

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from orchestrator.engine.runs.preparation import prepare_start
from orchestrator.errors import (
    Conflict,
    DefinitionError,
    ExpressionFailed,
    LimitExceeded,
    NotFound,
    UsageError,
)
from orchestrator.kernel.commands import CancelRun, FinishChild, FinishHandover
from orchestrator.kernel.handover import known_as, predecessor_of, signals_handed_over
from orchestrator.kernel.messages import (
    AnyMessage,
    CancelChild,
    ChildEnded,
    StartChild,
    StartSuccessor,
    decode_message,
)
from orchestrator.kernel.outlook import awaits
from orchestrator.kernel.values import ErrorInfo, Parent
from orchestrator.stores.contract import Claim, Commit, Lease

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine

log: Any = structlog.get_logger("orchestrator.delivery")


async def deliver(engine: "Engine", claim: Claim) -> None:
    """Deliver the message of a claimed row, then finish the row.

    Raises:
        StoreError: not delivered, or not finished; the row stays and will be delivered again.
    """
    await _hand_over(engine, decode_message(claim.payload), sender=claim.run_id)
    await engine.committer.commit(
        Commit(
            commit_id=engine.new_commit_id(),
            run_id=claim.run_id,
            namespace=claim.namespace,
            expected=None,
            worker=engine.worker_name,
            stands_on=[Lease(path=claim.path, epoch=claim.epoch)],
        )
    )


async def _hand_over(engine: "Engine", message: AnyMessage, *, sender: str = "") -> None:
    match message:
        case StartChild():
            await _start_child(engine, message)
        case StartSuccessor():
            await _start_successor(engine, sender)
        case CancelChild():
            await _cancel(engine, message.to, passed_on=message.passed_on)
        case ChildEnded():
            command = FinishChild(
                run=message.run,
                path=message.path,
                step=message.step,
                output=message.output,
                error=message.error,
            )
            try:
                await engine.command(message.to, command)
            except NotFound:
                log.warning("the parent of an ended run is gone", run=message.run, parent=message.to)


async def _start_child(engine: "Engine", message: StartChild) -> None:
    try:
        if message.depth > engine.config.nesting_max:
            raise LimitExceeded("nesting of runs", value=message.depth, maximum=engine.config.nesting_max)
        start = await prepare_start(
            engine,
            run_id=message.to,
            workflow=message.workflow,
            version=message.version,
            namespace=message.namespace,
            payload=message.input,
            parent=message.parent,
            depth=message.depth,
            priority=message.priority,
        )
    except (NotFound, LimitExceeded, UsageError, DefinitionError, ExpressionFailed) as error:
        info = ErrorInfo(type=error.code, message=str(error), retryable=False)
        await engine.command(
            message.parent.run,
            FinishChild(run=message.to, path=message.parent.path, step=message.parent.step, error=info),
        )
        return
    await engine.create(start)
    if not await _is_awaited(engine, message.parent, message.to):
        # The parent was stopped meanwhile, and its word to cancel may have come before there was a run to cancel.
        await _cancel(engine, message.to)


async def _start_successor(engine: "Engine", run_id: str) -> None:
    """Start the run that goes on for `run_id`, whose state says with what, and tell it."""
    state = await engine.read_state(run_id)
    handover = state.handover
    if handover is None or not state.status.live:
        return  # it was told before
    try:
        start = await prepare_start(
            engine,
            run_id=handover.run,
            workflow=state.workflow,
            version=None if handover.latest else state.version,
            namespace=state.namespace,
            payload=handover.input,
            labels=state.labels,
            parent=state.parent,
            depth=state.depth,
            priority=state.priority,
            deleted=not handover.latest,
        )
    except (NotFound, LimitExceeded, UsageError, DefinitionError, ExpressionFailed) as error:
        info = ErrorInfo(type=error.code, message=f"its successor can't be started: {error}", retryable=False)
        await engine.command(run_id, FinishHandover(run=handover.run, error=info))
        return
    start = msgspec.structs.replace(
        start, continues=predecessor_of(state), signals=signals_handed_over(state)
    )
    await engine.create(start)
    if state.parent is not None and not await _is_awaited(engine, state.parent, known_as(state)):
        await _cancel(engine, handover.run)
    await engine.command(run_id, FinishHandover(run=handover.run))


async def _is_awaited(engine: "Engine", parent: Parent, child: str) -> bool:
    """Whether the parent's task, by now, waits for the child or has its answer."""
    try:
        return awaits(await engine.read_state(parent.run), parent, child)
    except NotFound:
        return False


async def _cancel(engine: "Engine", run_id: str, *, passed_on: bool = False) -> None:
    """Cancel a run, or the last of the chain that goes on for it."""
    if passed_on:
        command = CancelRun(reason="the run that it goes on for was cancelled")
    else:
        command = CancelRun(by="parent", reason="the run that waited for it ended", from_parent=True)
    while True:
        try:
            await engine.command(run_id, command)
        except Conflict as refusal:
            if refusal.reason != "run_continued":
                log.debug("nothing to cancel", run=run_id, why=str(refusal))
                return
            handover = (await engine.read_state(run_id)).handover
            if handover is None:
                return
            run_id = handover.run
        except NotFound as gone:
            log.debug("nothing to cancel", run=run_id, why=str(gone))
            return
        else:
            return
