"""The closed table of tests: what may stand after `is`."""

from collections.abc import Callable
from typing import Any

from orchestrator.model.expressions import runtime
from orchestrator.model.expressions.arguments import text_of
from orchestrator.model.expressions.runtime import (
    Failure,
    Frame,
    Missing,
    is_integer,
    is_list,
    is_number,
    is_object,
)


def _divisible(frame: Frame, value: Any, by: Any) -> bool:
    if not is_integer(value) or not is_integer(by) or by == 0:
        raise Failure("`divisibleby` compares two whole numbers, the second not 0")
    return value % by == 0


def _parity(remainder: int) -> Callable[..., bool]:
    def check(frame: Frame, value: Any) -> bool:
        return _divisible(frame, value - remainder if is_integer(value) else value, 2)

    return check


def _kind(check: Callable[[Any], bool]) -> Callable[..., bool]:
    def test(frame: Frame, value: Any) -> bool:
        return check(value)

    return test


def _order(check: Callable[[int], bool]) -> Callable[..., bool]:
    def test(frame: Frame, value: Any, other: Any) -> bool:
        return check(runtime.compare(frame, value, other))

    return test


def _not_equal(frame: Frame, value: Any, other: Any) -> bool:
    return not runtime.equal(frame, value, other)


def _within(frame: Frame, value: Any, holder: Any) -> bool:
    return runtime.contains(frame, holder, value)


def _holds(frame: Frame, holder: Any, value: Any) -> bool:
    return runtime.contains(frame, holder, value)


def _starts(frame: Frame, value: Any, other: Any) -> bool:
    return text_of(value, "`startswith`").startswith(text_of(other, "`startswith`"))


def _ends(frame: Frame, value: Any, other: Any) -> bool:
    return text_of(value, "`endswith`").endswith(text_of(other, "`endswith`"))


_less, _less_equal = _order(lambda c: c < 0), _order(lambda c: c <= 0)
_more, _more_equal = _order(lambda c: c > 0), _order(lambda c: c >= 0)

TESTS: dict[str, Callable[..., bool]] = {
    "defined": _kind(lambda v: type(v) is not Missing),
    "undefined": _kind(lambda v: type(v) is Missing),
    "none": _kind(lambda v: v is None),
    "null": _kind(lambda v: v is None),
    "boolean": _kind(lambda v: isinstance(v, bool)),
    "true": _kind(lambda v: v is True),
    "false": _kind(lambda v: v is False),
    "number": _kind(is_number),
    "integer": _kind(is_integer),
    "float": _kind(lambda v: isinstance(v, float)),
    "string": _kind(lambda v: isinstance(v, str)),
    "list": _kind(is_list),
    "sequence": _kind(is_list),
    "mapping": _kind(lambda v: is_object(v)),
    "object": _kind(lambda v: is_object(v)),
    "iterable": _kind(lambda v: (isinstance(v, str) or is_object(v)) or is_list(v)),
    "empty": _kind(lambda v: v is None or (((isinstance(v, str) or is_object(v)) or is_list(v)) and not v)),
    "even": _parity(0),
    "odd": _parity(1),
    "divisibleby": _divisible,
    "eq": runtime.equal,
    "equalto": runtime.equal,
    "ne": _not_equal,
    "lt": _less,
    "lessthan": _less,
    "le": _less_equal,
    "gt": _more,
    "greaterthan": _more,
    "ge": _more_equal,
    "in": _within,
    "contains": _holds,
    "startswith": _starts,
    "endswith": _ends,
}

TESTS_WITH_ARGUMENT: frozenset[Callable[..., bool]] = frozenset(
    TESTS[name]
    for name in (
        "divisibleby",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "in",
        "contains",
        "startswith",
        "endswith",
    )
)
