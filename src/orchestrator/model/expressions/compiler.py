"""From Jinja2's syntax tree to closures over plain data.

Each kind of tree node has one method here; a kind without one is refused by name, so that a newer Jinja2 can't bring
in what nobody looked at. A closure from `value` never gives Missing; one from `lookup` may, and only `default`,
`defined` and further lookups ask for it.
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.model.expressions import runtime
from orchestrator.model.expressions.filters import FILTERS, FUNCTIONS
from orchestrator.model.expressions.predicates import TESTS
from orchestrator.model.expressions.references import NOTHING, References
from orchestrator.model.expressions.runtime import (
    Evaluator,
    Failure,
    Frame,
    Missing,
    is_list,
    is_number,
    kind_of,
)
from orchestrator.model.plain import is_dict

if TYPE_CHECKING:
    from jinja2 import nodes

NAMES = ("input", "nodes", "vars", "previous", "item", "run", "now", "secrets", "output")
"""What an expression may read."""

_CONSTANTS = {"null": None}
_COPIES_PER_OPERATION = 8
_LENIENT_FILTERS = frozenset({"default", "d"})
_LENIENT_TESTS = frozenset({"defined", "undefined"})

_ARITHMETIC: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "Sub": ("-", lambda a, b: a - b),
    "Mul": ("*", lambda a, b: a * b),
    "Div": ("/", lambda a, b: a / b),
    "FloorDiv": ("//", lambda a, b: a // b),
    "Mod": ("%", lambda a, b: a % b),
}

_COMPARISONS: dict[str, Callable[[Frame, Any, Any], bool]] = {
    "eq": runtime.equal,
    "ne": lambda frame, a, b: not runtime.equal(frame, a, b),
    "lt": lambda frame, a, b: runtime.compare(frame, a, b) < 0,
    "lteq": lambda frame, a, b: runtime.compare(frame, a, b) <= 0,
    "gt": lambda frame, a, b: runtime.compare(frame, a, b) > 0,
    "gteq": lambda frame, a, b: runtime.compare(frame, a, b) >= 0,
    "in": lambda frame, a, b: runtime.contains(frame, b, a),
    "notin": lambda frame, a, b: not runtime.contains(frame, b, a),
}

_REFUSED = {
    "Pow": "`**` is not available in expressions",
    "TemplateData": "text outside of quotes is not available here",
}


def compile_tree(tree: "nodes.Expr") -> tuple[Evaluator, References]:
    """The closure that evaluates the tree, and what it reads.

    Raises:
        Failure: the tree uses what is not available in expressions.
    """
    compiler = _Compiler()
    evaluator = compiler.value(tree)
    return evaluator, compiler.references


class _Cut(NamedTuple):
    start: Evaluator | None
    stop: Evaluator | None
    step: Evaluator | None


class _Compiler:
    def __init__(self) -> None:
        self.references = NOTHING

    def value(self, node: "nodes.Node") -> Evaluator:
        """A closure that gives a value, or fails where it is missing."""
        kind = type(node).__name__
        if kind in ("Name", "Getattr", "Getitem"):
            lookup = self.lookup(node)

            def needed(frame: Frame) -> Any:
                value = lookup(frame)
                if type(value) is Missing:
                    value.needed()
                return value

            return needed
        method = getattr(self, f"_{kind.lower()}", None)
        if method is None or kind in _REFUSED:
            raise Failure(_REFUSED.get(kind, f"{kind} is not available in expressions"))
        return method(node)

    def lookup(self, node: "nodes.Node") -> Evaluator:
        """A closure that gives a value or Missing."""
        steps: list[nodes.Node] = []
        base: Any = node
        while type(base).__name__ in ("Getattr", "Getitem"):
            steps.append(base)
            base = base.node
        steps.reverse()
        keys: list[Any] = [self._key(step) for step in steps]
        if type(base).__name__ != "Name":
            return self._steps(self.value(base), "the value", keys)
        name = str(base.name)
        if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return self._steps(lambda frame: constant, name, keys)
        self._note(name, keys)
        if all(isinstance(key, str | int) for key in keys):
            return _path(name, tuple(keys))
        return self._steps(_path(name, ()), name, keys)

    def _key(self, step: Any) -> Any:
        """A text or whole number that is known now, a closure, or a slice of closures."""
        kind = type(step).__name__
        if kind == "Getattr":
            return step.attr
        key = step.arg
        if type(key).__name__ == "Const" and (isinstance(key.value, str) or runtime.is_integer(key.value)):
            return key.value
        if type(key).__name__ == "Slice":
            parts = [None if part is None else self.value(part) for part in (key.start, key.stop, key.step)]
            return _Cut(*parts)
        return self.value(key)

    def _note(self, name: str, keys: list[Any]) -> None:
        """Write down what is read."""
        if name not in NAMES:
            near = get_close_matches(name, [*NAMES, *FUNCTIONS], n=1)
            meant = f"; did you mean `{near[0]}`?" if near else ""
            raise Failure(
                f"there is no `{name}`; expressions read {', '.join(f'`{n}`' for n in NAMES)}{meant}"
            )
        first = frozenset({keys[0]}) if keys and isinstance(keys[0], str) else None
        match name:
            case "nodes":
                note = References(nodes=first) if first else References(all_nodes=True)
            case "vars":
                note = References(variables=first) if first else References(all_variables=True)
            case "secrets":
                if first is None:
                    raise Failure("`secrets` is read by name only, such as `secrets.TOKEN`")
                note = References(secrets=first)
            case _:
                note = References(**{name: True})  # pyright: ignore[reportArgumentType] -- the flags bear these names
        self.references |= note

    def _steps(self, base: Evaluator, path: str, keys: list[Any]) -> Evaluator:
        evaluator = base
        for key in keys:
            if isinstance(key, _Cut):
                evaluator = _slice(evaluator, *key)
                path = f"{path}[…]"
            elif callable(key):
                evaluator = _dynamic(evaluator, key, path)
                path = f"{path}[…]"
            else:
                evaluator = _fixed(evaluator, key, path)
                path = _extend(path, key)
        return evaluator

    def _const(self, node: "nodes.Const") -> Evaluator:
        value = node.value
        if isinstance(value, float):
            runtime.checked_number(value)
        elif not (value is None or isinstance(value, bool | int | str)):
            raise Failure(f"{value!r} is no JSON value")
        return lambda frame: value

    def _list(self, node: "nodes.List | nodes.Tuple") -> Evaluator:
        items = [self.value(item) for item in node.items]
        return lambda frame: [item(frame) for item in items]

    def _tuple(self, node: "nodes.Tuple") -> Evaluator:
        return self._list(node)

    def _dict(self, node: "nodes.Dict") -> Evaluator:
        pairs = [(self.value(pair.key), self.value(pair.value)) for pair in node.items]

        def make(frame: Frame) -> dict[str, Any]:
            made: dict[str, Any] = {}
            for key, value in pairs:
                name = key(frame)
                if not isinstance(name, str):
                    raise Failure(f"the key of an object is a text, and this is {kind_of(name)}")
                made[name] = value(frame)
            return made

        return make

    def _condexpr(self, node: "nodes.CondExpr") -> Evaluator:
        test, then = self.value(node.test), self.value(node.expr1)
        if node.expr2 is None:
            return lambda frame: then(frame) if test(frame) else None
        other = self.value(node.expr2)
        return lambda frame: then(frame) if test(frame) else other(frame)

    def _and(self, node: "nodes.And") -> Evaluator:
        left, right = self.value(node.left), self.value(node.right)
        return lambda frame: left(frame) and right(frame)

    def _or(self, node: "nodes.Or") -> Evaluator:
        left, right = self.value(node.left), self.value(node.right)
        return lambda frame: left(frame) or right(frame)

    def _not(self, node: "nodes.Not") -> Evaluator:
        inner = self.value(node.node)
        return lambda frame: not inner(frame)

    def _neg(self, node: "nodes.Neg") -> Evaluator:
        inner = self.value(node.node)
        return lambda frame: runtime.checked_number(-_number(inner(frame), "-"))

    def _pos(self, node: "nodes.Pos") -> Evaluator:
        inner = self.value(node.node)
        return lambda frame: _number(inner(frame), "+")

    def _add(self, node: "nodes.Add") -> Evaluator:
        left, right = self.value(node.left), self.value(node.right)
        return lambda frame: _sum(frame, left(frame), right(frame))

    def _arithmetic(self, node: "nodes.BinExpr") -> Evaluator:
        sign, operation = _ARITHMETIC[type(node).__name__]
        left, right = self.value(node.left), self.value(node.right)

        def work_out(frame: Frame) -> Any:
            a, b = _number(left(frame), sign), _number(right(frame), sign)
            try:
                return runtime.checked_number(operation(a, b))
            except ZeroDivisionError:
                raise Failure(f"division by zero in `{sign}`") from None

        return work_out

    _sub = _mul = _div = _floordiv = _mod = _arithmetic

    def _concat(self, node: "nodes.Concat") -> Evaluator:
        parts = [self.value(part) for part in node.nodes]
        return lambda frame: runtime.join_texts(
            frame, [runtime.to_text(frame, part(frame)) for part in parts]
        )

    def _compare(self, node: "nodes.Compare") -> Evaluator:
        first = self.value(node.expr)
        rest = [(_COMPARISONS[operand.op], self.value(operand.expr)) for operand in node.ops]
        if len(rest) == 1:
            operation, second = rest[0]
            return lambda frame: operation(frame, first(frame), second(frame))

        def chain(frame: Frame) -> bool:
            left = first(frame)
            for operation, operand in rest:
                right = operand(frame)
                if not operation(frame, left, right):
                    return False
                left = right
            return True

        return chain

    def _filter(self, node: "nodes.Filter") -> Evaluator:
        if node.node is None:
            raise Failure("a filter block is not available in expressions")
        function = _known(FILTERS, node.name, "filter")
        lenient = node.name in _LENIENT_FILTERS
        return self._apply(function, f"filter `{node.name}`", [node.node, *node.args], node, lenient=lenient)

    def _test(self, node: "nodes.Test") -> Evaluator:
        function = _known(TESTS, node.name, "test")
        lenient = node.name in _LENIENT_TESTS
        return self._apply(function, f"test `{node.name}`", [node.node, *node.args], node, lenient=lenient)

    def _call(self, node: "nodes.Call") -> Evaluator:
        target = node.node
        if type(target).__name__ != "Name":
            name = getattr(target, "attr", "")
            instead = f"; there is a filter: `| {name}`" if name in FILTERS else ""
            raise Failure(f"only {_listed(FUNCTIONS)} can be called, no methods{instead}")
        name = str(getattr(target, "name", ""))
        function = _known(FUNCTIONS, name, "function")
        return self._apply(function, f"function `{name}`", list(node.args), node, lenient=False)

    def _apply(
        self, function: Callable[..., Any], what: str, args: "list[nodes.Expr]", node: Any, *, lenient: bool
    ) -> Evaluator:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise Failure(f"{what}: `*` and `**` are not available among arguments")
        named: list[nodes.Keyword] = list(node.kwargs)
        if len({keyword.key for keyword in named}) < len(named):
            raise Failure(f"{what}: an argument is given twice")
        try:
            inspect.signature(function).bind(None, *args, **{keyword.key: None for keyword in named})
        except TypeError as error:
            raise Failure(f"{what}: {error}") from None
        values = [self._argument(arg, lenient=lenient and place == 0) for place, arg in enumerate(args)]
        keywords = {keyword.key: self.value(keyword.value) for keyword in named}
        if len(values) == 1 and not keywords:
            only = values[0]
            return lambda frame: function(frame, only(frame))
        return lambda frame: function(
            frame,
            *[value(frame) for value in values],
            **{key: value(frame) for key, value in keywords.items()},
        )

    def _argument(self, node: "nodes.Expr", *, lenient: bool) -> Evaluator:
        if lenient and type(node).__name__ in ("Name", "Getattr", "Getitem"):
            return self.lookup(node)
        return self.value(node)


def _known(table: Mapping[str, Callable[..., Any]], name: str, what: str) -> Callable[..., Any]:
    found = table.get(name)
    if found is None:
        near = get_close_matches(name[:100], table, n=1)
        meant = f"; did you mean `{near[0]}`?" if near else ""
        raise Failure(
            f"there is no {what} `{name[:100]}`{meant} There are {_listed(table)}".replace(
                "? There", "? there"
            )
        )
    return found


def _listed(table: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(table))


def _extend(path: str, key: str | int) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def _path(name: str, keys: tuple[str | int, ...]) -> Evaluator:
    """The hot path: a name of the scope and fixed keys below it."""

    def read(frame: Frame) -> Any:
        try:
            value = frame.scope[name]
        except KeyError:
            return Missing("", frame.scope, name)
        for place, key in enumerate(keys):
            if is_dict(value) and key in value:
                value = value[key]
                continue
            value = runtime.read_key(value, key, "")
            if type(value) is Missing:
                value.path = _written(name, keys[:place])
                return value
        return value

    return read


def _written(name: str, keys: tuple[str | int, ...]) -> str:
    path = name
    for key in keys:
        path = _extend(path, key)
    return path


def _fixed(base: Evaluator, key: str | int, path: str) -> Evaluator:
    return lambda frame: runtime.read_key(base(frame), key, path)


def _dynamic(base: Evaluator, key: Evaluator, path: str) -> Evaluator:
    return lambda frame: runtime.read_key(base(frame), key(frame), path)


def _slice(
    base: Evaluator, start: Evaluator | None, stop: Evaluator | None, step: Evaluator | None
) -> Evaluator:
    def cut(frame: Frame) -> Any:
        value = base(frame)
        if type(value) is Missing:
            return value
        ends = [part(frame) if part else None for part in (start, stop, step)]
        if not (isinstance(value, str) or is_list(value)):
            raise Failure(f"only a list or a text can be cut, and this is {kind_of(value)}")
        if any(not (end is None or runtime.is_integer(end)) for end in ends) or ends[2] == 0:
            raise Failure("the ends of a cut are whole numbers, and its step is not 0")
        frame.charge(1 + len(value) // _COPIES_PER_OPERATION)
        return value[slice(*ends)]

    return cut


def _number(value: Any, sign: str) -> Any:
    if is_number(value):
        return value
    raise Failure(f"`{sign}` works on numbers, and this is {kind_of(value)}")


def _sum(frame: Frame, left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return runtime.checked_number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        return runtime.join_texts(frame, [left, right])
    if is_list(left) and is_list(right):
        frame.charge(1 + (len(left) + len(right)) // _COPIES_PER_OPERATION)
        return [*left, *right]
    raise Failure(
        f"`+` can't add {kind_of(left)} and {kind_of(right)}: it adds numbers, texts or lists; "
        "`~` joins anything as text"
    )
