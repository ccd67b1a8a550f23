"""Taking out of a run's journal and state what people gave and got, and leaving what happened.

A value becomes `{"$erased": {"bytes": ..., "sha256": ...}}`, a text of somebody's words a sentence with the same two.
Kinds, paths, times, targets of decisions, names of steps and signals, usage and labels stay: the journal folds as
before, since no rule ever looks into a value. What was erased stays as it is, so erasing twice changes nothing.
"""

import hashlib
import json
import re
from typing import Any, TypeVar, cast

import msgspec

from orchestrator.errors import Conflict
from orchestrator.kernel.commands import Command, EraseRun, ForkRun, NoteLate, RetryRun
from orchestrator.kernel.events import DataErased
from orchestrator.kernel.state import RunState
from orchestrator.kernel.turn import Turn
from orchestrator.kernel.values import ErrorInfo, Payload, Plan

T = TypeVar("T")

WORDS = frozenset({"doubt", "cancelled_for"})
"""Fields of texts that may quote anything, wherever they stand."""
REASONS = frozenset(
    {
        "BudgetRaised",
        "CancelRequested",
        "DecisionMade",
        "Ending",
        "GraphExtended",
        "RunCancelled",
        "RunPaused",
        "RunResumed",
        "RunRetried",
        "TaskCancelled",
        "TaskInDoubt",
        "TaskResolved",
        "TaskSkipped",
    }
)
"""What has a `reason` or `message` in somebody's words. Other kinds have a fixed list of them."""

_ERASED_VALUE = re.compile(rb'\{"\$erased":\{"bytes":\d+,"sha256":"[0-9a-f]{64}"\}\}')
_ERASED_TEXT = re.compile(r"\[erased: \d+ bytes, SHA-256 [0-9a-f]{64}\]")


def erase_run(turn: Turn, command: EraseRun) -> None:
    """The run's data goes. Only of one that is over; asked for again it stays as it is."""
    state = turn.state
    if state.moves:
        raise Conflict(
            f"run {state.run_id} is {state.status.value}; only the data of a run that is over can be erased",
            reason="run_not_over",
        )
    if state.erased is None:
        turn.emit(DataErased(by=command.by, reason=command.reason))


def refuse_if_erased(state: RunState, command: Command) -> None:
    """Nothing goes on from a run without its data.

    Raises:
        Conflict: the command would (`run_erased`).
    """
    if state.erased is not None and isinstance(command, RetryRun | ForkRun | NoteLate):
        raise Conflict(erased_words(state.run_id, state.erased.at), reason="run_erased")


def erased_words(run_id: str, at: str) -> str:
    """Why nothing goes on from such a run."""
    return f"the data of run {run_id} was erased ({at}); it can be looked at, and nothing goes on from it"


def erased(value: T) -> T:
    """An event, a state or a part of one without what people gave and got."""
    return _erase(value)


def erased_text(text: str) -> str:
    """What stands in the place of somebody's words."""
    if not text or _ERASED_TEXT.fullmatch(text):
        return text
    data = text.encode("utf-8", "surrogatepass")
    return f"[erased: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}]"


def _erase(value: Any) -> Any:
    if isinstance(value, Payload):
        return _payload(value)
    if isinstance(value, ErrorInfo):
        return msgspec.structs.replace(value, message=erased_text(value.message), details=None)
    if isinstance(value, Plan):
        return msgspec.structs.replace(value, record=_plan(value.record))
    if isinstance(value, msgspec.Struct):
        changes: dict[str, Any] = {}
        worded = type(value).__name__ in REASONS
        for name in value.__struct_fields__:
            old = getattr(value, name)
            if isinstance(old, str):
                is_words = name in WORDS or (worded and name in ("reason", "message"))
                new = erased_text(old) if is_words else old
            else:
                new = _erase(old)
            if new is not old:
                changes[name] = new
        return msgspec.structs.replace(value, **changes) if changes else value
    if isinstance(value, dict):
        return {key: _erase(one) for key, one in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_erase(one) for one in cast("list[Any]", value)]
    return value


def _payload(payload: Payload) -> Payload:
    """A list that its journal holds in pieces refers to them, and they are erased there."""
    data = bytes(payload.value)
    if payload.listed is not None or data == b"null" or _ERASED_VALUE.fullmatch(data):
        return payload
    digest = payload.sha256 if payload.blob is not None else hashlib.sha256(data).hexdigest()
    text = f'{{"$erased":{{"bytes":{payload.size},"sha256":"{digest}"}}}}'
    return Payload(value=msgspec.Raw(text.encode()))


def _plan(record: msgspec.Raw) -> msgspec.Raw:
    """A plan's nodes keep their classes and ways, and lose their params and what they say of themselves."""
    whole = json.loads(bytes(record))
    _bare(whole)
    return msgspec.Raw(json.dumps(whole, separators=(",", ":")).encode())


def _bare(value: Any) -> None:
    if isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            if key == "params" and isinstance(one, dict):
                value[key] = {}
            elif key == "description" and isinstance(one, str):
                value[key] = ""
            else:
                _bare(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            _bare(one)
