"""The limits that a task is under: their keys worked out, as the store counts them."""

from typing import TYPE_CHECKING

from orchestrator.engine.attempts.failures import clean
from orchestrator.engine.attempts.items import source_of
from orchestrator.engine.attempts.scope import TaskValues, reader_of
from orchestrator.errors import ExpressionFailed
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.model.definition import LimitDefinition, NodeDefinition
from orchestrator.model.limits import LIMIT_KEY_MAX
from orchestrator.stores.contract import Limit

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine


async def limits_of(engine: "Engine", state: RunState, task: TaskState, node: NodeDefinition) -> list[Limit]:
    """What the task must have before it starts; of several limits with one key the first counts.

    Raises:
        ExpressionFailed: a key can't be worked out, or is none.
        StoreError: a value that a key reads can't be had.
    """
    values: TaskValues | None = None
    if any(limit.key is not None and not limit.key.constant for limit in node.limits):
        reader, source = reader_of(state, task, node), source_of(state, task)
        known = values = TaskValues(state, reader, {})  # before anything is awaited: the state moves on
        payloads = values.outside()
        if source is not None:
            payloads.append(source.payload)
            values.item = lambda: engine.items.read(source.payload, known.data(source.payload), source.place)
        if payloads:
            values.add_blobs(await engine.blobs.fetch(payloads, run_id=state.run_id))
    found: dict[str, Limit] = {}
    for place, limit in enumerate(node.limits):
        kind = "rate" if limit.concurrency is None else "slots"
        if limit.key is None:
            name, within = node.id, f"node/{state.workflow}/{node.id}"
        else:
            name = _key(engine, limit, node, values, place)
            within = f"key/{name}"
        wanted = Limit(
            account=f"{state.namespace}/{kind}/{within}",
            name=name,
            concurrency=limit.concurrency,
            rate=limit.rate,
            per_us=limit.per_us,
        )
        found.setdefault(wanted.account, wanted)
    return list(found.values())


def _key(
    engine: "Engine", limit: LimitDefinition, node: NodeDefinition, values: TaskValues | None, place: int
) -> str:
    assert limit.key is not None
    value = limit.key.evaluate(values.scope(limit.key.references, {}) if values is not None else {})
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= LIMIT_KEY_MAX:
        raise ExpressionFailed(
            f"the key of a limit is a text of 1 to {LIMIT_KEY_MAX} characters or a whole number, not {value!r:.60}",
            pointer=f"/nodes/{node.id}/limits/{place}/key",
        )
    return clean(engine.redactor.redact(text))
