"""What a new run needs before its first event: its version, its variables, its input checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.engine.attempts.blobs import read_payload
from orchestrator.kernel.commands import StartRun
from orchestrator.kernel.values import Parent, Payload, rfc3339
from orchestrator.model.definition import Definition
from orchestrator.stores.contract import Blob

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine


async def prepare_start(
    engine: "Engine",
    *,
    run_id: str,
    workflow: str,
    version: int | None,
    namespace: str,
    payload: Payload | None,
    labels: Mapping[str, str] | None = None,
    parent: Parent | None = None,
    depth: int = 0,
    priority: int = 0,
    request: str = "",
    deleted: bool = False,
) -> StartRun:
    """The command that starts a run of a workflow's current (or the named) version.

    The workflow's `vars` are evaluated here, once, over `input`, `run` and `now`. The input isn't checked against the
    schema: whoever lets people start runs does that, and says what is wrong in its own words. `deleted`: the workflow
    may be deleted by now.

    Raises:
        NotFound: no such workflow or version.
        ExpressionFailed: a variable can't be evaluated.
    """
    name, number = await engine.definitions.version_for(
        workflow, version, namespace=namespace, deleted=deleted
    )
    definition = await engine.definitions.get(name, number, namespace=namespace)
    all_labels = {**definition.labels, **(labels or {})}
    blobs = await engine.blobs.fetch([payload], run_id=run_id)
    variables, new_blobs = first_variables(
        engine,
        definition,
        run_id=run_id,
        workflow=name,
        version=number,
        labels=all_labels,
        input=read_payload(payload, blobs, run_id=run_id),
    )
    engine.stash_blobs(run_id, new_blobs)
    return StartRun(
        run_id=run_id,
        workflow=name,
        version=number,
        namespace=namespace,
        input=payload,
        labels=all_labels,
        variables=variables,
        parent=parent,
        depth=depth,
        priority=priority,
        request=request,
    )


def first_variables(
    engine: "Engine",
    definition: Definition,
    *,
    run_id: str,
    workflow: str,
    version: int,
    labels: Mapping[str, str],
    input: Any,
) -> tuple[dict[str, Payload], list[Blob]]:
    """The workflow's `vars` as a new run begins with them, and the blobs of the large ones.

    Raises:
        ExpressionFailed: a variable can't be evaluated. OutputNotStorable: one is too large.
    """
    now = rfc3339(engine.now_us())
    run = {"id": run_id, "workflow": workflow, "version": version, "labels": dict(labels), "created_at": now}
    scope: dict[str, Any] = {"input": input, "run": run, "now": now, "nodes": {}, "vars": {}, "secrets": {}}
    variables: dict[str, Payload] = {}
    blobs: list[Blob] = []
    for name, value in definition.variables.evaluate(scope).items():
        variables[name], more = engine.codec.encode(value, run_id=run_id)
        blobs.extend(more)
    return variables, blobs
