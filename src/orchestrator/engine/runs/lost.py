"""Messages between runs that are neither on their way nor delivered: worked out from the states of both ends.

A start is on its way as long as its row is in the sender's queue, and delivered once the run exists. The end of a child
is delivered when its parent no longer waits, a cancel when the child is being cancelled. What is neither was lost.
"""

from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import NotFound
from orchestrator.kernel.handover import known_as
from orchestrator.kernel.messages import AnyMessage, CancelChild, StartSuccessor
from orchestrator.kernel.outlook import awaits, last_words, message_path, open_messages
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from orchestrator.model.definition import Definition

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine

CHAIN_MAX = 1_000
"""Runs of one chain that are looked through for the one that will tell its end; a longer one is left alone."""


class Lost(NamedTuple):
    """A message, and the run in whose queue its row is missing."""

    sender: str
    message: AnyMessage


async def lost_messages(
    engine: "Engine", state: RunState, definition: Definition, present: Container[str]
) -> list[Lost]:
    """What was lost of what concerns this live run, `present` being the paths of its queue rows.

    The run must be found unmoved afterwards: else what seemed lost may just have been delivered.

    Raises:
        StoreUnavailable: nobody knows.
    """
    lost: list[Lost] = []
    for message in open_messages(state):
        if message_path(message) in present:
            continue
        if isinstance(message, StartSuccessor) or await engine.store.get_run(message.to) is None:
            lost.append(Lost(state.run_id, message))
        else:
            lost.extend(await _unheard_end(engine, message.to))
    if state.parent is not None and definition.on_parent_cancel != "abandon":
        lost.extend(await _unheard_cancel(engine, state))
    return lost


async def _unheard_end(engine: "Engine", child: str) -> list[Lost]:
    """The words of a child that is over and whose parent waits all the same."""
    for _ in range(CHAIN_MAX):
        row = await engine.store.get_run(child)
        if row is None or row.index.live:
            return []
        state = await engine.read_state(child)
        words = [message for message in last_words(state) if not await _is_queued(engine, child, message)]
        if words or state.handover is None:
            return [Lost(child, message) for message in words]
        child = state.handover.run
    return []


async def _unheard_cancel(engine: "Engine", state: RunState) -> list[Lost]:
    """The cancel of a child that lives on although its parent no longer waits for it."""
    parent = state.parent
    if parent is None or state.status is RunStatus.CANCELLING:
        return []
    first = known_as(state)
    try:
        if awaits(await engine.read_state(parent.run), parent, first):
            return []
    except NotFound:
        return []
    message = CancelChild(to=first)
    return [] if await _is_queued(engine, parent.run, message) else [Lost(parent.run, message)]


async def _is_queued(engine: "Engine", sender: str, message: AnyMessage) -> bool:
    path = message_path(message)
    return any(row.path == path for row in await engine.store.queue_rows(sender))
