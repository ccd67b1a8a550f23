"""The index row of a run: what lists filter, sort and search by, from its state."""

from orchestrator.kernel.state import RunState
from orchestrator.kernel.values import microseconds
from orchestrator.stores.contract import RunIndex

ERROR_CHARACTERS_MAX = 500


def index_of(state: RunState) -> RunIndex:
    """The row as it must stand after the events that made `state`; equal rows needn't be written again."""
    return RunIndex(
        workflow=state.workflow,
        version=state.version,
        status=state.status.value,
        live=state.moves,
        labels=state.labels,
        error=_error_text(state),
        created_us=microseconds(state.created_at),
        started_us=microseconds(state.started_at) if state.started_at else None,
        finished_us=microseconds(state.finished_at) if state.finished_at else None,
        parent_run=state.parent.run if state.parent is not None else None,
    )


def _error_text(state: RunState) -> str:
    if state.error is None:
        return ""
    return f"{state.error.type}: {state.error.message}"[:ERROR_CHARACTERS_MAX]
