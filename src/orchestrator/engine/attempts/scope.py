"""The values that a task's expressions and code see: read from the run's state, blobs fetched beforehand."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from orchestrator.engine.attempts.blobs import Blobs, blob_key, read_payload
from orchestrator.kernel.state import RunState, TaskState, read_keys
from orchestrator.kernel.values import Origin, Payload, Reads
from orchestrator.model.definition import NodeDefinition
from orchestrator.model.expressions import References
from orchestrator.model.grafts import SEPARATOR, local_id


def reader_of(state: RunState, task: TaskState, node: NodeDefinition) -> TaskState:
    """The task whose `previous` and reads count: of an item, those of the task that has the items, as far as the
    params, `limits`, `cache` and `complete_when` name them."""
    if task.item is None:
        return task
    container, references = state.container(task), node.params.references
    if node.for_each is not None and node.for_each.enough is not None:
        references |= node.for_each.enough.references
    if node.cache is not None and node.cache.key is not None:
        references |= node.cache.key.references
    for limit in node.limits:
        references = references if limit.key is None else references | limit.key.references
    reads = container.reads
    if not references.all_nodes:
        named = {name: key for name, key in reads.nodes.items() if name in references.nodes}
        reads = Reads(nodes=named, variables=reads.variables)
    if not references.all_variables:
        named = {name: key for name, key in reads.variables.items() if name in references.variables}
        reads = Reads(nodes=reads.nodes, variables=named)
    return msgspec.structs.replace(
        container, path=task.path, reads=reads, scheduled_at=task.scheduled_at, steps=task.steps
    )


class TaskValues:
    """What one task may read, taken from the state when its attempt begins; decoded where it is asked for.

    It keeps its own references, so the state may move on (or be thrown away) while the task runs.
    """

    __slots__ = (
        "_blobs",
        "_input",
        "_payloads",
        "_reads",
        "_run",
        "_run_id",
        "_state",
        "_steps",
        "item",
        "previous_origin",
        "scheduled_at",
    )

    def __init__(self, state: RunState, task: TaskState, blobs: Blobs) -> None:
        self.item: Callable[[], Any] | None = None
        self._blobs = blobs
        self._input = state.input
        self._reads = task.reads
        self._steps = task.steps
        self._state = state  # for what never changes in it
        self._run: dict[str, Any] | None = None
        self._run_id = state.run_id
        self.previous_origin = task.previous
        self.scheduled_at = task.scheduled_at
        values = state.values
        self._payloads = {key: values[key].payload for key in read_keys(task)}

    @property
    def run(self) -> dict[str, Any]:
        """What `run` is in expressions."""
        if self._run is None:
            self._run = run_facts(self._state)
        return self._run

    def outside(self) -> list[Payload]:
        """What the task may read, its recorded steps and the run's input included, as far as it stands elsewhere."""
        found = [payload for payload in self._payloads.values() if not payload.inline]
        if self._input is not None and not self._input.inline:
            found.append(self._input)
        if self._steps:
            results = [step.result for step in self._steps.values()]
            found += [result for result in results if result is not None and not result.inline]
        return found

    def add_blobs(self, blobs: Blobs) -> None:
        """Blobs that became known since."""
        self._blobs = {**self._blobs, **blobs}

    def input(self) -> Any:
        """The run's input."""
        return self.read(self._input)

    def read(self, payload: Payload | None) -> Any:
        """A payload as fresh data."""
        return read_payload(payload, self._blobs, run_id=self._run_id)

    def data(self, payload: Payload) -> bytes:
        """The JSON of a payload."""
        key = blob_key(payload, run_id=self._run_id)
        return bytes(payload.value) if key is None else self._blobs[key]

    def output(self, path: str) -> Any:
        """The output of a task that led here."""
        return self.read(self._payloads[path])

    def outputs(self) -> dict[str, Any]:
        """The outputs of the nodes that are read, by the names that they are read under."""
        return {node: self.output(key) for node, key in self._reads.nodes.items()}

    def previous(self) -> Any:
        """What `previous` is."""
        return self._render(self.previous_origin)

    def variables(self) -> dict[str, Any]:
        """The variables that the node's expressions name."""
        return {name: self.output(key) for name, key in self._reads.variables.items()}

    def scope(self, references: References, secrets: Mapping[str, str]) -> dict[str, Any]:
        """The names that the expressions may use; only what they do use is decoded."""
        scope: dict[str, Any] = {"run": self.run, "now": self.scheduled_at, "secrets": secrets}
        scope["nodes"] = {node: self.output(key) for node, key in self._reads.nodes.items()}
        scope["vars"] = self.variables()
        if references.input:
            scope["input"] = self.input()
        if references.previous:
            scope["previous"] = self.previous()
        if references.item and self.item is not None:
            scope["item"] = self.item()
        return scope

    def _render(self, origin: Origin) -> Any:
        if origin.sources is not None:
            rendered = {
                local_id(node): [self._render(one) for one in several]
                for node, several in origin.sources.items()
            }
            return {node: several[0] if len(several) == 1 else several for node, several in rendered.items()}
        return None if origin.path is None else self.output(origin.path)


def run_facts(state: RunState) -> dict[str, Any]:
    """What `run` is in expressions."""
    return {
        "id": state.run_id,
        "workflow": state.workflow,
        "version": state.version,
        "labels": dict(state.labels),
        "created_at": state.created_at,
    }


def output_reads(state: RunState, references: References) -> Reads:
    """What the workflow's `output` reads at the end of the run."""
    nodes = state.latest if references.all_nodes else references.nodes
    variables = state.variables if references.all_variables else references.variables
    return Reads(
        nodes={n: state.latest[n] for n in nodes if n in state.latest and SEPARATOR not in n},
        variables={v: state.variables[v] for v in variables if v in state.variables},
    )
