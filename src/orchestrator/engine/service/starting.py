"""Starting a run for a person: the input checked, the variables evaluated, and an idempotency key kept for 30 days."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.ids import new_run_id, run_id_of_key
from orchestrator.engine.runs.preparation import first_variables
from orchestrator.engine.service import inputs
from orchestrator.engine.views.runs import labelled
from orchestrator.errors import Conflict, UsageError
from orchestrator.kernel.commands import StartRun
from orchestrator.model.definition import Definition
from orchestrator.model.limits import PRIORITY_MAX

KEY_LIFE_US = 30 * 24 * 3600 * 1_000_000
"""Idempotency keys live 30 days; after that the same key starts a new run."""


class Asked(NamedTuple):
    """What somebody asked for. `version` is as asked: None is the current one, whichever that is."""

    workflow: str
    version: int | None
    input: Any
    labels: Mapping[str, str]
    priority: int = 0

    @property
    def request(self) -> str:
        """What tells the repeat of a request from another one."""
        return inputs.request_hash(
            workflow=self.workflow,
            version=self.version,
            input=self.input,
            labels=self.labels,
            priority=self.priority,
        )


async def start(
    engine: Engine, definition: Definition, version: int, asked: Asked, *, key: str | None
) -> tuple[str, bool]:
    """The id of the run, and whether it was started now (False: by this key, before).

    Raises:
        UsageError: no such priority.
        InvalidInput, LimitExceeded, ExpressionFailed: it can't be started so.
        Conflict: the key belongs to another request (`idempotency_key_reused`).
    """
    if not -PRIORITY_MAX <= asked.priority <= PRIORITY_MAX:
        raise UsageError(
            f"a run's priority is a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}, not {asked.priority}"
        )
    inputs.check_labels(labelled(definition.labels, asked.labels))
    await asyncio.to_thread(inputs.check_input, asked.input, definition.input_schema)
    if key is None:
        run_id = new_run_id(engine.now_us())
        return run_id, await _create(engine, definition, version, asked, run_id=run_id)
    generation = 0
    while True:
        run_id = run_id_of_key(engine.config.namespace, asked.workflow, key, generation=generation)
        known = await engine.store.get_run(run_id)
        if known is not None and engine.now_us() - known.index.created_us > KEY_LIFE_US:
            generation += 1
            continue
        if known is None and await _create(engine, definition, version, asked, run_id=run_id):
            return run_id, True
        await _check_repeat(engine, asked, run_id=run_id, key=key)
        return run_id, False


async def _check_repeat(engine: Engine, asked: Asked, *, run_id: str, key: str) -> None:
    state = await engine.read_state(run_id)
    if state.request != asked.request:
        raise Conflict(
            f"the idempotency key {key[:100]!r} started run {run_id} with another request; use another key, "
            "or repeat that request unchanged",
            reason="idempotency_key_reused",
        )


async def _create(engine: Engine, definition: Definition, version: int, asked: Asked, *, run_id: str) -> bool:
    payload, blobs = inputs.encode(engine, asked.input, run_id=run_id, what="input of a run")
    labels = _redacted(engine, labelled(definition.labels, asked.labels))
    variables, more = first_variables(
        engine,
        definition,
        run_id=run_id,
        workflow=asked.workflow,
        version=version,
        labels=labels,
        input=asked.input,
    )
    command = StartRun(
        run_id=run_id,
        workflow=asked.workflow,
        version=version,
        namespace=engine.config.namespace,
        input=payload,
        labels=labels,
        variables=variables,
        priority=asked.priority,
        request=asked.request,
    )
    _, created = await engine.create(command, blobs=[*blobs, *more])
    return created


def _redacted(engine: Engine, labels: Mapping[str, str]) -> dict[str, str]:
    redact = engine.redactor.redact
    return {redact(name): redact(value) for name, value in labels.items()}
