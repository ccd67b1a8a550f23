"""Plain JSON data in its Python form: type guards, and what to call a value."""

from typing import Any, TypeGuard


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether the value is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether the value is a JSON list."""
    return isinstance(value, list)


def kind_of(value: object) -> str:
    """What to call a JSON value in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return (
        "a list" if is_array(value) else "an object" if is_dict(value) else f"a Python {type(value).__name__}"
    )
