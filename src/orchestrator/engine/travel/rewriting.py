"""An event with other payloads: the same structs, rebuilt only where something in them changes."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from orchestrator.kernel.values import Payload

T = TypeVar("T")


def rewritten(value: T, *, payload: Callable[[Payload], Payload]) -> T:
    """The value with every payload in it replaced, in whatever field it stands."""
    return _rewrite(value, payload)


def _rewrite(value: Any, payload: Callable[[Payload], Payload]) -> Any:
    if isinstance(value, Payload):
        return payload(value)
    if isinstance(value, msgspec.Struct):
        changes: dict[str, Any] = {}
        for name in value.__struct_fields__:
            old = getattr(value, name)
            new = _rewrite(old, payload)
            if new is not old:
                changes[name] = new
        return msgspec.structs.replace(value, **changes) if changes else value
    if isinstance(value, dict):
        found = cast("dict[Any, Any]", value)
        rebuilt = {key: _rewrite(one, payload) for key, one in found.items()}
        return rebuilt if any(rebuilt[key] is not one for key, one in found.items()) else found
    if isinstance(value, list):
        items = cast("list[Any]", value)
        new_items = [_rewrite(one, payload) for one in items]
        return new_items if any(a is not b for a, b in zip(new_items, items, strict=True)) else items
    return value
