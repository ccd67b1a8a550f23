"""Payloads as observers see them: the value itself where the journal holds it, `{"$blob": ...}` where it doesn't.

Which fields of an event hold payloads is one table here; a test holds it against the events' annotations.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.kernel.values import NOTHING, Payload
from orchestrator.model.plain import is_array, is_dict

PAYLOAD_FIELDS: Mapping[str, tuple[str, ...]] = {
    "run_started": ("input",),
    "signal_received": ("payload",),
    "run_stopping": ("output",),
    "run_continued": ("input",),
    "run_succeeded": ("output",),
    "step_recorded": ("result",),
    "task_completed": ("output",),
    "task_resumed": ("result",),
    "task_in_doubt": ("late",),
    "late_result_noted": ("result",),
}
"""Fields that are one payload, by kind."""

PAYLOAD_MAPS: Mapping[str, tuple[str, ...]] = {
    "run_started": ("variables",),
    "variables_set": ("values",),
    "run_patched": ("outputs",),
}
"""Fields that are a map of payloads, by kind."""


def event_view(line: bytes) -> dict[str, Any]:
    """An event of the journal as the API shows it: flat, payloads as their values."""
    view: dict[str, Any] = msgspec.json.decode(line)
    kind = view.get("kind", "")
    for name in PAYLOAD_FIELDS.get(kind, ()):
        if name in view:
            view[name] = _value(view[name])
    for name in PAYLOAD_MAPS.get(kind, ()):
        if name in view:
            view[name] = {key: _value(payload) for key, payload in view[name].items()}
    if kind == "task_suspended":
        for wait in view.get("waits", ()):
            if "input" in wait:
                wait["input"] = _value(wait["input"])
    handover = view.get("handover")
    if kind == "run_stopping" and is_dict(handover) and "input" in handover:
        handover["input"] = _value(handover["input"])
    if kind == "items_started":
        view["chunks"] = [{"count": one["count"], "items": _value(one["payload"])} for one in view["chunks"]]
    return view


def without_payloads(view: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `event_view` but for the values: every payload is empty."""
    kind = view.get("kind", "")
    plain: dict[str, Any] = dict(view)
    for name in PAYLOAD_FIELDS.get(kind, ()):
        plain[name] = {}
    for name in PAYLOAD_MAPS.get(kind, ()):
        if is_dict(plain.get(name)):
            plain[name] = {key: {} for key in plain[name]}
    if kind == "task_suspended" and is_array(plain.get("waits")):
        plain["waits"] = [{k: v for k, v in wait.items() if k != "input"} for wait in plain["waits"]]
    if kind == "run_stopping" and is_dict(plain.get("handover")):
        plain["handover"] = {**plain["handover"], "input": None}
    if kind == "items_started":
        plain["chunks"] = []
    if kind == "graph_extended" and is_dict(plain.get("plan")):
        plain["plan"] = {**plain["plan"], "record": NOTHING}
    return plain


def _value(written: object) -> Any:
    if not is_dict(written):
        return None
    if "listed" in written:
        return {"$list": {"count": written["listed"]["count"], "bytes": written.get("bytes")}}
    if "blob" in written:
        return {"$blob": {"bytes": written.get("bytes"), "sha256": written.get("sha256")}}
    return written.get("value")


def payload_view(payload: Payload | None) -> Any:
    """A payload's value where it is inline, else what is known of its blob."""
    if payload is None:
        return None
    if payload.listed is not None:
        return {"$list": {"count": payload.listed.count, "bytes": payload.bytes}}
    if payload.blob is not None:
        return {"$blob": {"bytes": payload.bytes, "sha256": payload.sha256}}
    raw = bytes(payload.value)
    return msgspec.json.decode(raw) if raw else None


def payload_bytes(payload: Payload) -> int | None:
    """The size of a value, as JSON."""
    if not payload.inline:
        return payload.bytes
    return len(bytes(payload.value)) or None
