"""JSON trees with expressions in them, compiled once and evaluated often."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import ExpressionFailed, Fault
from orchestrator.model.expressions.compiler import compile_tree
from orchestrator.model.expressions.references import NOTHING, References
from orchestrator.model.expressions.runtime import Evaluator, Failure, Frame, join_texts, to_text
from orchestrator.model.expressions.syntax import Embedded, check_text, parse, split_text
from orchestrator.model.plain import is_array, is_dict
from orchestrator.model.pointers import join_pointer

_TREE_DEPTH_MAX = 100
_SHOWN_SOURCE = 80
_EMPTY: Mapping[str, Any] = {}


class Template:
    """A value of the document, ready to be evaluated.

    `constant` says that it reads nothing, so that it always evaluates to the same; `references` says what it reads.
    """

    __slots__ = ("_evaluator", "constant", "pointer", "references")

    def __init__(self, evaluator: Evaluator, *, references: References, constant: bool, pointer: str) -> None:
        self._evaluator = evaluator
        self.references = references
        self.constant = constant
        self.pointer = pointer

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value for this scope, whose values are plain JSON data (`nodes` a mapping from id to output).

        Constant objects and lists are fresh copies each time; what is read from the scope is handed on as it is, so the
        caller must not change it in place.

        Raises:
            ExpressionFailed: something was missing, of the wrong kind or too large; it names the place.
        """
        return self._evaluator(Frame(scope))


def compile_value(value: Any, *, pointer: str = "", faults: list[Fault] | None = None) -> Template:
    """The template of a JSON tree whose texts may hold `{{ expression }}`.

    A text that is one whole expression keeps the expression's type; otherwise expressions are written into the text.
    With `faults`, everything that is wrong is added there and its place evaluates to a failure.

    Raises:
        ExpressionFailed: an expression doesn't compile (only without `faults`): the first of them.
    """
    found: list[Fault] = []
    part = _compile_node(value, pointer, found, 0)
    return _finish(part, pointer, found, faults)


def compile_expression(text: str, *, pointer: str = "", faults: list[Fault] | None = None) -> Template:
    """The template of a bare expression (`input.x > 3`), which may also stand in `{{ }}`.

    Raises:
        ExpressionFailed: it doesn't compile (only without `faults`).
    """
    found: list[Fault] = []
    source = text
    if text.strip().startswith("{{"):
        try:
            parts = split_text(text.strip())
        except Failure as failure:
            found.append(_fault(pointer, text, failure))
            return _finish(_failing(pointer, str(failure)), pointer, found, faults)
        if len(parts) != 1:
            failure = Failure("this must be one expression, with no text around it")
            found.append(_fault(pointer, text, failure))
            return _finish(_failing(pointer, str(failure)), pointer, found, faults)
        source = next(part.source for part in parts if isinstance(part, Embedded))
    return _finish(_compile_source(source, pointer, found), pointer, found, faults)


class _Part:
    """A compiled piece: `constant` pieces also know their value."""

    __slots__ = ("constant", "evaluator", "references", "value")

    def __init__(
        self, evaluator: Evaluator, *, references: References, constant: bool, value: Any = None
    ) -> None:
        self.evaluator, self.references, self.constant, self.value = evaluator, references, constant, value


def _finish(part: _Part, pointer: str, found: list[Fault], faults: list[Fault] | None) -> Template:
    if found:
        if faults is None:
            raise ExpressionFailed(found[0].message, pointer=found[0].pointer)
        faults.extend(found)
    return Template(part.evaluator, references=part.references, constant=part.constant, pointer=pointer)


def _fault(pointer: str, source: str, failure: Failure) -> Fault:
    return Fault(pointer=pointer, code="expression", message=_message(source, str(failure)))


def _message(source: str, reason: str) -> str:
    shown = " ".join(source.split())
    shown = shown if len(shown) <= _SHOWN_SOURCE else shown[:_SHOWN_SOURCE] + "…"
    return f"expression `{shown}`: {reason}"


def _failing(pointer: str, reason: str) -> _Part:
    def fail(frame: Frame) -> Any:
        raise ExpressionFailed(reason, pointer=pointer)

    return _Part(fail, references=NOTHING, constant=False)


def _constant(value: Any) -> _Part:
    return _Part(_copier(value), references=NOTHING, constant=True, value=value)


def _copier(value: Any) -> Evaluator:
    """A closure that gives a fresh copy of a constant."""
    if is_dict(value):
        entries = value
        if not entries:
            return lambda frame: {}
        if all(not isinstance(entry, dict | list) for entry in entries.values()):
            return lambda frame: entries.copy()
    elif is_array(value):
        items = value
        if all(not isinstance(item, dict | list) for item in items):
            return lambda frame: items.copy()
    else:
        return lambda frame: value
    copy: Callable[[Any], Any] = _copy
    return lambda frame: copy(value)


def _copy(value: Any) -> Any:
    if is_dict(value):
        return {key: _copy(entry) for key, entry in value.items()}
    if is_array(value):
        return [_copy(entry) for entry in value]
    return value


def _compile_node(value: Any, pointer: str, found: list[Fault], depth: int) -> _Part:
    if depth > _TREE_DEPTH_MAX:
        message = f"the value is nested more than {_TREE_DEPTH_MAX} deep"
        found.append(Fault(pointer=pointer, code="too_deep", message=message))
        return _failing(pointer, message)
    if isinstance(value, str):
        return _compile_text(value, pointer, found)
    if is_dict(value):
        children = {
            str(key): _compile_node(entry, join_pointer(pointer, str(key)), found, depth + 1)
            for key, entry in value.items()
        }
        return _compile_object(children)
    if is_array(value):
        items = [
            _compile_node(item, join_pointer(pointer, place), found, depth + 1)
            for place, item in enumerate(value)
        ]
        return _compile_list(items)
    if value is None or isinstance(value, bool | int | float):
        return _constant(value)
    message = f"a Python {type(value).__name__} is no JSON value"
    found.append(Fault(pointer=pointer, code="not_json", message=message))
    return _failing(pointer, message)


def _compile_object(children: dict[str, _Part]) -> _Part:
    if all(child.constant for child in children.values()):
        return _constant({key: child.value for key, child in children.items()})
    references = NOTHING
    for child in children.values():
        references |= child.references
    pairs = [(key, child.evaluator) for key, child in children.items()]
    return _Part(
        lambda frame: {key: evaluator(frame) for key, evaluator in pairs},
        references=references,
        constant=False,
    )


def _compile_list(items: list[_Part]) -> _Part:
    if all(item.constant for item in items):
        return _constant([item.value for item in items])
    references = NOTHING
    for item in items:
        references |= item.references
    evaluators = [item.evaluator for item in items]
    return _Part(
        lambda frame: [evaluator(frame) for evaluator in evaluators], references=references, constant=False
    )


def _compile_text(text: str, pointer: str, found: list[Fault]) -> _Part:
    if "{{" not in text:
        try:
            check_text(text)
        except Failure as failure:
            found.append(Fault(pointer=pointer, code="not_storable", message=str(failure)))
            return _failing(pointer, str(failure))
        return _constant(text)
    try:
        parts = split_text(text)
    except Failure as failure:
        found.append(_fault(pointer, text, failure))
        return _failing(pointer, str(failure))
    pieces = [
        _compile_source(p.source, pointer, found) if isinstance(p, Embedded) else _constant(p) for p in parts
    ]
    if len(pieces) == 1:
        return pieces[0]
    references = NOTHING
    for piece in pieces:
        references |= piece.references
    evaluators = [piece.evaluator for piece in pieces]

    def write(frame: Frame) -> str:
        return join_texts(frame, [to_text(frame, evaluator(frame)) for evaluator in evaluators])

    part = _Part(_guarded(write, text, pointer), references=references, constant=False)
    if all(piece.constant for piece in pieces):
        return _folded(part, pointer, found)
    return part


def _compile_source(source: str, pointer: str, found: list[Fault]) -> _Part:
    try:
        evaluator, references = compile_tree(parse(source))
    except Failure as failure:
        found.append(_fault(pointer, source.strip(), failure))
        return _failing(pointer, _message(source, str(failure)))
    part = _Part(_guarded(evaluator, source, pointer), references=references, constant=False)
    return part if references else _folded(part, pointer, found)


def _folded(part: _Part, pointer: str, found: list[Fault]) -> _Part:
    """What reads nothing is worked out now, so that it fails now too."""
    try:
        return _constant(part.evaluator(Frame(_EMPTY)))
    except ExpressionFailed as failed:
        message = str(failed).removeprefix(f"{pointer}: ") if pointer else str(failed)
        found.append(Fault(pointer=pointer, code="expression", message=message))
        return part


def _guarded(evaluator: Evaluator, source: str, pointer: str) -> Evaluator:
    def evaluate(frame: Frame) -> Any:
        try:
            return evaluator(frame)
        except Failure as failure:
            raise ExpressionFailed(_message(source, str(failure)), pointer=pointer) from None
        except RecursionError:
            raise ExpressionFailed(
                _message(source, "the data is nested too deeply"), pointer=pointer
            ) from None
        except (ArithmeticError, TypeError, ValueError, LookupError) as error:
            reason = f"{error} ({type(error).__name__})"
            raise ExpressionFailed(_message(source, reason), pointer=pointer) from error

    return evaluate
