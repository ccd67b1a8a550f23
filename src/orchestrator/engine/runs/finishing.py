"""The output of a run that is over: the workflow's `output`, or a map of its sinks.

It is evaluated here and recorded by the kernel.
"""

from typing import Any

from orchestrator.engine.attempts.blobs import NO_BLOBS, BlobReader, Unwritten
from orchestrator.engine.attempts.failures import clean
from orchestrator.engine.attempts.payloads import Codec
from orchestrator.engine.attempts.scope import TaskValues, output_reads
from orchestrator.engine.redaction import Redactor
from orchestrator.errors import ExpressionFailed, OutputNotStorable
from orchestrator.kernel.commands import FinishRun
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.values import ErrorInfo, Reads
from orchestrator.model.definition import Definition
from orchestrator.stores.contract import Blob


async def finish_run(
    state: RunState,
    definition: Definition,
    *,
    reader: BlobReader,
    unwritten: Unwritten,
    codec: Codec,
    redactor: Redactor,
    now: str,
) -> tuple[FinishRun, list[Blob]]:
    """The command that ends the run, and the blob of its output if that is large."""
    try:
        value = await _output(state, definition, reader, unwritten, now)
        payload, large = codec.encode(value, run_id=state.run_id)
    except (ExpressionFailed, OutputNotStorable) as error:
        info = ErrorInfo(type=error.code, message=clean(redactor.redact(str(error))), retryable=False)
        return FinishRun(error=info), []
    return FinishRun(output=payload), large


async def _output(
    state: RunState, definition: Definition, reader: BlobReader, unwritten: Unwritten, now: str
) -> Any:
    template = definition.output
    reads = Reads(nodes=dict(state.sinks)) if template is None else output_reads(state, template.references)
    task = TaskState(path="", node="", visit=0, reads=reads, scheduled_at=now)
    values = TaskValues(state, task, NO_BLOBS)
    values.add_blobs(await reader.fetch(values.outside(), run_id=state.run_id, unwritten=unwritten))
    if template is None:
        return {node: values.output(path) for node, path in state.sinks.items()}
    return template.evaluate(values.scope(template.references, {}))
