"""What a running expression stands on: its scope, its allowance, and the few rules of plain data."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypeGuard

from orchestrator.model import plain
from orchestrator.model.limits import DEFAULT_LIMITS

OPERATIONS_MAX: Final = DEFAULT_LIMITS.expression_operations_max
TEXT_MAX: Final = DEFAULT_LIMITS.expression_text_max
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
CHARACTERS_PER_OPERATION: Final = 64

_SUGGESTION_NAMES = 200
_SUGGESTION_LENGTH = 100
_LISTED_NAMES = 8


class Failure(Exception):
    """An expression can't go on; becomes `ExpressionFailed` with its place where it was started."""


class Frame:
    """One evaluation: the scope, and how many operations are left."""

    __slots__ = ("left", "scope")

    def __init__(self, scope: Mapping[str, Any], *, operations: int = OPERATIONS_MAX) -> None:
        self.scope = scope
        self.left = operations

    def charge(self, operations: int) -> None:
        """Pay before doing; what costs more than is left isn't begun."""
        self.left -= operations
        if self.left < 0:
            raise Failure(f"it needs more than {OPERATIONS_MAX:,} operations, the limit of one expression")

    def charge_text(self, characters: int) -> None:
        """Pay for a text that is about to be made or read."""
        if characters > TEXT_MAX:
            raise Failure(f"a text of {characters:,} characters is over the limit of {TEXT_MAX:,}")
        self.charge(1 + characters // CHARACTERS_PER_OPERATION)


class Missing:
    """A name that isn't there; harmless until somebody needs its value."""

    __slots__ = ("holder", "key", "path")

    def __init__(self, path: str, holder: Any, key: Any) -> None:
        self.path, self.holder, self.key = path, holder, key

    def __str__(self) -> str:
        holder, key = self.holder, self.key
        if holder is None:
            return f"`{self.path}` is null, so it has no {_quoted(key)}"
        if is_object(holder):
            names = list(holder)
            subject = (
                f"`{self.path}` has no {_quoted(key)}" if self.path else f"there is no {_quoted(key)} here"
            )
            return f"{subject}{_what_there_is(str(key), names)}"
        if is_list(holder) and is_integer(key):
            return f"`{self.path}` has no place {key}: it has {len(holder)} entries"
        return f"`{self.path}` is {kind_of(holder)}, so it has no {_quoted(key)}"

    def needed(self) -> NoReturn:
        """The value is needed after all."""
        raise Failure(f"{self} (`| default(...)` allows it to be missing)")


Evaluator = Callable[[Frame], Any]


def _quoted(key: Any) -> str:
    text = str(key)
    return f"`{text if len(text) <= _SUGGESTION_LENGTH else text[:_SUGGESTION_LENGTH] + '…'}`"


def _what_there_is(wanted: str, names: list[str]) -> str:
    if not names:
        return "; it is empty"
    short = [name for name in names[:_SUGGESTION_NAMES] if len(name) <= _SUGGESTION_LENGTH]
    near = get_close_matches(wanted, short, n=1) if len(wanted) <= _SUGGESTION_LENGTH else []
    listed = ", ".join(_quoted(name) for name in names[:_LISTED_NAMES])
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return f"; there is {listed}{more}" + (f"; did you mean `{near[0]}`?" if near else "")


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether the value is a JSON list."""
    return isinstance(value, list | tuple)


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether the value is a JSON object."""
    return isinstance(value, Mapping)


def is_integer(value: Any) -> bool:
    """Whether the value is a whole number, and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether the value is a number, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: Any) -> str:
    """What to call a value in a message; of what only a running expression knows, too."""
    if is_list(value):
        return "a list"
    if is_object(value):
        return "an object"
    # A Python object gives nothing away, not even the name of its class.
    return plain.kind_of(value) if value is None or isinstance(value, str | int | float) else "no JSON value"


def read_key(holder: Any, key: Any, path: str) -> Any:
    """The entry of an object or list, or Missing. Never an attribute of a Python object.

    A negative place counts from the end of a list.
    """
    if isinstance(key, str):
        if is_object(holder):
            try:
                return holder[key]
            except KeyError:
                return Missing(path, holder, key)
    elif is_integer(key):
        if is_list(holder) and -len(holder) <= key < len(holder):
            return holder[key]
    elif not isinstance(holder, Missing):
        raise Failure(f"`{path}` is read by a text or a place, and the key is {kind_of(key)}")
    return holder if isinstance(holder, Missing) else Missing(path, holder, key)


def checked_number(value: Any) -> Any:
    """The result of arithmetic, if JSON can hold it: finite, whole numbers within 64 bits."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Failure("the result is not a finite number")
    elif not INTEGER_MIN <= value <= INTEGER_MAX:
        raise Failure("the result is a whole number of more than 64 bits")
    return value


def weigh(frame: Frame, value: Any) -> None:
    """Pay for reading the whole of a value: three operations an entry, as it is walked here and then once more."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, str):
            frame.charge_text(len(current))
        elif is_object(current):
            frame.charge(1 + 3 * len(current))
            stack.extend(current.values())
        elif is_list(current):
            frame.charge(1 + 3 * len(current))
            stack.extend(current)


def to_json(frame: Frame, value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text."""
    weigh(frame, value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise Failure(f"the value can't be written as JSON: {error}") from None
    frame.charge_text(len(text))
    return text


def to_text(frame: Frame, value: Any) -> str:
    """How a value reads within a text: null is nothing, objects and lists are JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return to_json(frame, value)


def join_texts(frame: Frame, parts: list[str], *, separator: str = "") -> str:
    """One text of many, paid for before it is made."""
    frame.charge_text(sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1))
    return separator.join(parts)


def equal(frame: Frame, left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: `1` and `1.0` are, `1` and `true` aren't."""
    stack: list[tuple[Any, Any]] = [(left, right)]
    while stack:
        a, b = stack.pop()
        frame.charge(4)
        if isinstance(a, str) and isinstance(b, str):
            if len(a) == len(b):
                frame.charge(len(a) // CHARACTERS_PER_OPERATION)
                if a == b:
                    continue
            return False
        if is_number(a) and is_number(b):
            if a != b:
                return False
        elif is_list(a) and is_list(b):
            if len(a) != len(b):
                return False
            frame.charge(len(a))
            stack.extend(zip(a, b, strict=True))
        elif is_object(a) and is_object(b):
            if len(a) != len(b):
                return False
            frame.charge(len(a))
            for key, value in a.items():
                if key not in b:
                    return False
                stack.append((value, b[key]))
        elif a is None or isinstance(a, bool):
            if a is not b:
                return False
        else:
            return False
    return True


def compare(frame: Frame, left: Any, right: Any) -> int:
    """Below, at or above zero: two numbers or two texts in order."""
    if is_number(left) and is_number(right):
        return (left > right) - (left < right)
    if isinstance(left, str) and isinstance(right, str):
        frame.charge_text(min(len(left), len(right)))
        return (left > right) - (left < right)
    raise Failure(f"{kind_of(left)} and {kind_of(right)} have no order; only two numbers or two texts have")


def contains(frame: Frame, holder: Any, value: Any) -> bool:
    """`value in holder`: an entry of a list, a key of an object, a part of a text."""
    if isinstance(holder, str):
        if not isinstance(value, str):
            raise Failure(f"a text can't contain {kind_of(value)}")
        frame.charge_text(len(holder) + len(value))
        return value in holder
    if is_object(holder):
        return isinstance(value, str) and value in holder
    if is_list(holder):
        if isinstance(value, str):
            # The common case, at the speed of one comparison an entry.
            frame.charge(len(holder) * (1 + len(value) // CHARACTERS_PER_OPERATION))
            return any(isinstance(entry, str) and entry == value for entry in holder)
        return any(equal(frame, entry, value) for entry in holder)
    raise Failure(f"`in` needs a list, an object or a text, and this is {kind_of(holder)}")
