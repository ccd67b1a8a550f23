"""From text to plain JSON data, strictly: whatever is sent, the answer is data or a list of faults.

Nothing here recurses over what was sent. Depth is measured on the text before it is parsed; Python's own parser then
sees only what is within the limit.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn

from orchestrator.errors import DefinitionError, Fault
from orchestrator.model.limits import DEFAULT_LIMITS, Limits
from orchestrator.model.nearest import shorten
from orchestrator.model.numbers import INTEGER_MAX, INTEGER_MIN, BadNumber, read_float, read_integer
from orchestrator.model.plain import is_array, is_dict, kind_of
from orchestrator.model.pointers import join_pointer
from orchestrator.model.yaml_text import Places, load_yaml

# A text that is never closed is taken to the end, so that no quote in it is looked at twice.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_FAULTS_MAX: Final = 1000


Syntax = Literal["json", "yaml"]
"""How a document is written. A JSON text is a YAML text too, and means the same."""


class Source(NamedTuple):
    """A text that was read: its data, how it is written, and of YAML where everything stands."""

    document: dict[str, Any]
    syntax: Syntax
    places: Places | None = None

    def located(self, faults: Iterable[Fault]) -> tuple[Fault, ...]:
        """The faults of the document, with line and column where they are known."""
        return tuple(map(self.places.locate, faults)) if self.places is not None else tuple(faults)


def read_source(text: bytes | str, *, syntax: Syntax = "json", limits: Limits = DEFAULT_LIMITS) -> Source:
    """The document that a text of this syntax holds.

    Raises:
        DefinitionError: see `read_document`; of YAML every fault has its line and column.
    """
    if syntax == "json":
        return Source(read_document(text, limits=limits), "json")
    decoded = _decode(text, limits)
    if decoded.lstrip().startswith("{"):
        # What is JSON is read as JSON: YAML's parser knows neither its surrogate pairs nor its long keys.
        try:
            json.loads(decoded, parse_int=len)
        except (ValueError, RecursionError):
            pass
        else:
            return Source(read_document(decoded, limits=limits), "json")
    value, duplicates, places = load_yaml(decoded, limits=limits)
    faults = examine(value, limits=limits, duplicates=duplicates)
    if not faults and not is_dict(value):
        message = f"a workflow document is a map, and this is {kind_of(value)}"
        faults = [Fault(pointer="", code="not_an_object", message=message)]
    if faults:
        raise DefinitionError([places.locate(fault) for fault in faults])
    return Source(value, "yaml", places)


def read_document(text: bytes | str, *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The JSON object that a text holds.

    Raises:
        DefinitionError: it isn't strict JSON, is too large or too deep, or holds what can't be kept: duplicate keys,
            NaN and other numbers out of range, NUL, lone surrogates.
    """
    text = _decode(text, limits)
    _check_depth(text, limits)
    duplicates: dict[int, list[str]] = {}

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            seen: set[str] = set()
            duplicates[id(built)] = [key for key, _ in pairs if key in seen or seen.add(key)]
        return built

    try:
        value: Any = json.loads(
            text,
            object_pairs_hook=build,
            parse_float=read_float,
            parse_int=read_integer,
            parse_constant=lambda name: BadNumber(name, "is no JSON number"),
        )
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        _refuse("not_json", f"the document is no JSON: {error.msg} ({at})")
    except RecursionError:
        _refuse("too_deep", f"the document is nested more than {limits.document_depth_max} deep")
    faults = examine(value, limits=limits, duplicates=duplicates)
    if faults:
        raise DefinitionError(faults)
    if not is_dict(value):
        _refuse("not_an_object", f"a workflow document is a JSON object, and this is {kind_of(value)}")
    return value


def _decode(text: bytes | str, limits: Limits) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > limits.document_bytes_max:
        _refuse("too_large", f"the document has {size:,} bytes; the limit is {limits.document_bytes_max:,}")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse("not_utf8", f"the document is not UTF-8: byte {error.start:,} is wrong")


def examine(
    value: Any, *, limits: Limits = DEFAULT_LIMITS, duplicates: Mapping[int, list[str]] | None = None
) -> list[Fault]:
    """What in a tree of Python values isn't plain JSON data that every store can keep; in document order."""
    faults: list[Fault] = []

    def fault(pointer: str, code: str, message: str) -> None:
        faults.append(Fault(pointer=pointer, code=code, message=message))

    stack: list[tuple[str, int, Any]] = [("", 0, value)]
    visited = 0
    while stack and len(faults) < _FAULTS_MAX:
        pointer, depth, current = stack.pop()
        visited += 1
        if visited > limits.document_bytes_max:
            fault("", "too_large", f"the document has more than {limits.document_bytes_max:,} values")
            break
        if is_dict(current):
            for key in (duplicates or {}).get(id(current), ()):
                fault(
                    join_pointer(pointer, key), "duplicate_key", f"the key `{shorten(key)}` stands here twice"
                )
            if _is_too_deep(depth, limits, pointer, fault):
                continue
            for key in current:
                _check_key(key, pointer, fault)
            stack.extend((join_pointer(pointer, str(k)), depth + 1, v) for k, v in reversed(current.items()))
        elif is_array(current):
            if not _is_too_deep(depth, limits, pointer, fault):
                places = range(len(current) - 1, -1, -1)
                stack.extend((join_pointer(pointer, place), depth + 1, current[place]) for place in places)
        else:
            _check_leaf(current, pointer, fault)
    return faults


def _refuse(code: str, message: str) -> NoReturn:
    raise DefinitionError([Fault(pointer="", code=code, message=message)])


def _check_depth(text: str, limits: Limits) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > limits.document_depth_max:
                _refuse("too_deep", f"the document is nested more than {limits.document_depth_max} deep")
        elif first in "]}":
            depth -= 1


_Report = Callable[[str, str, str], None]


def _is_too_deep(depth: int, limits: Limits, pointer: str, fault: _Report) -> bool:
    if depth < limits.document_depth_max:
        return False
    fault(pointer, "too_deep", f"the document is nested more than {limits.document_depth_max} deep")
    return True


def _check_key(key: object, pointer: str, fault: _Report) -> None:
    if not isinstance(key, str):
        fault(pointer, "not_json", f"a key of a JSON object is a text, and this is {kind_of(key)}")
    elif reason := _unstorable(key):
        # The key itself can't be shown, nor stand in a pointer.
        fault(pointer, "not_storable", f"a key holds {reason}")


def _check_leaf(value: object, pointer: str, fault: _Report) -> None:
    if isinstance(value, str):
        if reason := _unstorable(value):
            fault(pointer, "not_storable", f"the text holds {reason}")
    elif isinstance(value, BadNumber):
        fault(pointer, "bad_number", f"{shorten(value.written, length=40)} {value.reason}")
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            fault(pointer, "bad_number", "the number has more than 64 bits")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            fault(pointer, "bad_number", f"{value} is no JSON number")
    else:
        fault(pointer, "not_json", f"{kind_of(value)} is no JSON value")


def _unstorable(text: str) -> str | None:
    if "\0" in text:
        return "the character NUL, which not every store can keep"
    if not text.isascii() and _SURROGATE.search(text):
        return "a lone surrogate, which is no character"
    return None
