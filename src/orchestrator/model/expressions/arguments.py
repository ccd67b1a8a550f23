"""What filters and tests take: checked for their kind, paid for, and named in the message if they don't fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.model.expressions import runtime
from orchestrator.model.expressions.runtime import (
    Failure,
    Frame,
    Missing,
    is_integer,
    is_list,
    is_object,
    kind_of,
)

DIGITS_MAX = 40


def text_of(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Failure(f"{what} works on a text, and this is {kind_of(value)}")
    return value


def entries_of(frame: Frame, value: Any, what: str) -> Sequence[Any]:
    if not is_list(value):
        raise Failure(f"{what} works on a list, and this is {kind_of(value)}")
    frame.charge(len(value))
    return value


def object_of(frame: Frame, value: Any, what: str) -> Mapping[str, Any]:
    if not is_object(value):
        raise Failure(f"{what} works on an object, and this is {kind_of(value)}")
    frame.charge(len(value))
    return value


def attribute_of(frame: Frame, value: Any, path: Any, *, fallback: Any = Missing) -> Any:
    steps: list[Any] = [path] if is_integer(path) else text_of(path, "an attribute").split(".")
    frame.charge(3 * len(steps))
    for step in steps:
        if is_list(value) and isinstance(step, str) and step.isdecimal() and len(step) < 10:
            step = int(step)
        value = runtime.read_key(value, step, "an entry")
        if type(value) is Missing:
            if fallback is Missing:
                value.needed()
            return fallback
    return value


def keys_of(frame: Frame, entries: Sequence[Any], attribute: Any) -> list[Any]:
    if attribute is None:
        return list(entries)
    return [attribute_of(frame, entry, attribute) for entry in entries]


def shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) and len(value) <= DIGITS_MAX else kind_of(value)
