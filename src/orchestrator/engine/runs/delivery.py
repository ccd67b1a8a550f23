"""Delivers messages between runs: the receiving run records it first, then the row leaves the sender's queue."""

from typing import TYPE_CHECKING, Any

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
from orchestrator.kernel.commands import CancelRun, FinishChild
from orchestrator.kernel.messages import AnyMessage, CancelChild, ChildEnded, StartChild, decode_message
from orchestrator.kernel.values import ErrorInfo
from orchestrator.stores.contract import Claim, Commit, Lease

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine

log: Any = structlog.get_logger("orchestrator.delivery")


async def deliver(engine: "Engine", claim: Claim) -> None:
    """Deliver the message of a claimed row, then finish the row.

    Raises:
        StoreError: not delivered, or not finished; the row stays and will be delivered again.
    """
    await _hand_over(engine, decode_message(claim.payload))
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


async def _hand_over(engine: "Engine", message: AnyMessage) -> None:
    match message:
        case StartChild():
            await _start_child(engine, message)
        case CancelChild():
            await _cancel(engine, message.to)
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
        )
    except (NotFound, LimitExceeded, UsageError, DefinitionError, ExpressionFailed) as error:
        info = ErrorInfo(type=error.code, message=str(error), retryable=False)
        await engine.command(
            message.parent.run,
            FinishChild(run=message.to, path=message.parent.path, step=message.parent.step, error=info),
        )
        return
    await engine.create(start)
    if not await _is_awaited(engine, message):
        # The parent was stopped meanwhile, and its word to cancel may have come before there was a run to cancel.
        await _cancel(engine, message.to)


async def _is_awaited(engine: "Engine", message: StartChild) -> bool:
    """Whether the parent's task, by now, waits for the child or has its answer."""
    parent = message.parent
    try:
        task = (await engine.read_state(parent.run)).tasks.get(parent.path)
    except NotFound:
        return False
    if task is None:
        return False
    wait = task.waits.get(parent.step)
    return parent.step in task.steps or (wait is not None and wait.run == message.to)


async def _cancel(engine: "Engine", run_id: str) -> None:
    try:
        await engine.command(run_id, CancelRun(by="parent", reason="the run that waited for it ended"))
    except (Conflict, NotFound) as over:
        log.debug("nothing to cancel", run=run_id, why=str(over))
