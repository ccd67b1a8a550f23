"""n8n's expressions as ours: a small part of JavaScript, read by its precedences, written in Jinja2's grammar.

Read are literals, paths, comparisons, arithmetic, `&& || ! ?:`, and the few properties and functions that have a filter
of the same meaning. Everything else raises `Unmapped`, with what it was.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![0-9.]))
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<name>[$A-Za-z_][$\w]*)
    | (?P<sign>===|!==|==|!=|<=|>=|&&|\|\||\?\.|\?\?|[-+*/%<>!?:.,()\[\]])
    )""",
    re.VERBOSE | re.ASCII,
)
_BINARY: Mapping[str, tuple[int, str]] = {
    "||": (1, "or"), "&&": (2, "and"),
    "==": (3, "=="), "!=": (3, "!="), "===": (3, "=="), "!==": (3, "!="),
    "<": (4, "<"), "<=": (4, "<="), ">": (4, ">"), ">=": (4, ">="),
    "+": (5, "+"), "-": (5, "-"), "*": (6, "*"), "/": (6, "/"), "%": (6, "%"),
}  # fmt: skip
_METHODS = {"toUpperCase": "upper", "toLowerCase": "lower", "trim": "trim", "toString": "string"}
_METHODS_OF_ONE = {"split": "split", "join": "join"}
_FUNCTIONS = {"JSON.stringify": "tojson", "JSON.parse": "fromjson", "Number": "float", "parseInt": "int",
              "parseFloat": "float", "String": "string", "Math.abs": "abs", "Math.round": "round"}  # fmt: skip
_ROOTS = {"$json": "previous", "$now": "now", "$workflow.name": "run.workflow", "$execution.id": "run.id"}
_ITEM_CALLS = ("first", "last")
_WORDS = {"true": "true", "false": "false", "null": "none", "undefined": "none"}
_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
DEPTH_MAX = 40


class Unmapped(Exception):
    """An expression that has no counterpart of the same meaning; the message says which part."""


def template(text: str, ids: Mapping[str, str]) -> str:
    """A parameter's text as ours: with `=` in front a template whose `{{ }}` are expressions, else literally itself.

    `ids` gives the id of each node by its name in n8n.

    Raises:
        Unmapped: one of the expressions can't be mapped.
    """
    if not text.startswith("="):
        return literal(text)
    out: list[str] = []
    at = 1
    while (start := text.find("{{", at)) >= 0:
        end = _end_of(text, start + 2)
        out.append(literal(text[at:start]))
        out.append("{{ " + translate(text[start + 2 : end], ids) + " }}")
        at = end + 2
    out.append(literal(text[at:]))
    return "".join(out)


def refused(text: str) -> str:
    """A text that the check refuses at its place, with what stood there."""
    return "{{ n8n(" + json.dumps(text[:300], ensure_ascii=False) + ") }}"


def literal(text: str) -> str:
    """A text that means itself: braces written as an expression."""
    return text.replace("{{", "{{ '{{' }}")


def translate(source: str, ids: Mapping[str, str]) -> str:
    """One JavaScript expression as ours.

    Raises:
        Unmapped: it isn't of the part that maps.
    """
    return _Reader(source, ids).whole()


def _end_of(text: str, at: int) -> int:
    """Where an expression's `}}` stands, texts in it left out."""
    quote = ""
    while at < len(text):
        if quote:
            at += text[at] == "\\"
            quote = "" if text[at : at + 1] == quote else quote
        elif text[at] in "\"'`":
            quote = text[at]
        elif text.startswith("}}", at):
            return at
        at += 1
    raise Unmapped("an expression has no end")


class _Reader:
    """Precedence climbing over the tokens of one expression."""

    def __init__(self, source: str, ids: Mapping[str, str]) -> None:
        self.ids = ids
        self.tokens = _tokens(source)
        self.at = 0
        self.depth = 0

    def whole(self) -> str:
        written = self.choice()
        if self.at < len(self.tokens):
            self.stop(f"`{self.tokens[self.at][1]}`")
        return written

    def stop(self, what: str) -> NoReturn:
        raise Unmapped(f"{what} has no counterpart")

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            self.stop("an expression that ends in the middle")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, sign: str) -> None:
        kind, found = self.take()
        if found != sign or kind == "text":
            self.stop(f"`{found}` where `{sign}` should stand")

    def choice(self) -> str:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            self.stop(f"an expression nested more than {DEPTH_MAX} deep")
        condition = self.binary(1)
        if self.peek() == "?":
            self.take()
            yes = self.choice()
            self.expect(":")
            condition = f"({yes} if {condition} else {self.choice()})"
        self.depth -= 1
        return condition

    def binary(self, lowest: int) -> str:
        left, is_text = self.unary()
        while (found := _BINARY.get(self.peek())) is not None and found[0] >= lowest:
            sign = self.take()[1]
            level, word = found
            start = self.at
            right = self.binary(level + 1)
            if sign == "+" and (is_text or self.tokens[start][0] == "text"):
                word, is_text = "~", True  # JavaScript joins texts with +
            left = f"({left} {word} {right})"
        return left

    def unary(self) -> tuple[str, bool]:
        if self.peek() == "!":
            self.take()
            return f"(not {self.unary()[0]})", False
        if self.peek() == "-":
            self.take()
            return f"-{self.unary()[0]}", False
        kind, written = self.take()
        if kind == "number":
            return written, False
        if kind == "text":
            return self.tail(_text(written)), True
        if kind == "name":
            return self.tail(self.root(written)), False
        if written == "(":
            inner = self.choice()
            self.expect(")")
            return self.tail(f"({inner})"), False
        if written == "[":
            return self.tail(f"[{', '.join(self.arguments(']'))}]"), False
        self.stop(f"`{written}`")

    def arguments(self, closing: str) -> list[str]:
        found: list[str] = []
        while self.peek() != closing:
            found.append(self.choice())
            if self.peek() == ",":
                self.take()
            elif self.peek() != closing:
                self.stop(f"`{self.peek()}`")
        self.take()
        return found

    # --- names ----------------------------------------------------------------------------------------------------

    def root(self, name: str) -> str:
        if name in _WORDS:
            return _WORDS[name]
        if name == "$" or name == "$node":
            return self.node(name)
        if name == "$input":
            self.expect(".")
            self.item("previous", self.take()[1])
            self.json()
            return "previous"
        dotted = name
        while dotted not in _ROOTS and dotted not in _FUNCTIONS and self.peek() == ".":
            self.take()
            dotted += "." + self.take()[1]
        if dotted in _ROOTS:
            return _ROOTS[dotted]
        if dotted in _FUNCTIONS and self.peek() == "(":
            self.take()
            given = self.arguments(")")
            if len(given) != 1:
                self.stop(f"`{dotted}` of {len(given)} values")
            return f"({given[0]} | {_FUNCTIONS[dotted]})"
        self.stop(f"`{dotted}`")

    def node(self, form: str) -> str:
        """`$('A').item.json` and `$node["A"].json`."""
        self.expect("(" if form == "$" else "[")
        kind, written = self.take()
        if kind != "text":
            self.stop("a node that is named by an expression")
        self.expect(")" if form == "$" else "]")
        name = _unquoted(written)
        if name not in self.ids:
            self.stop(f"the node {name!r}, which isn't in the workflow,")
        if form == "$":
            self.expect(".")
            self.item(name, self.take()[1])
        self.json()
        return f"nodes[{json.dumps(self.ids[name])}]"

    def item(self, of: str, form: str) -> None:
        if form in _ITEM_CALLS:
            self.expect("(")
            self.expect(")")
        elif form != "item":
            self.stop(f"`.{form}` of {of}")

    def json(self) -> None:
        self.expect(".")
        found = self.take()[1]
        if found != "json":
            self.stop(f"`.{found}` of a node")

    def tail(self, written: str) -> str:
        while self.peek() in (".", "["):
            if self.take()[1] == "[":
                inner = self.choice()
                self.expect("]")
                written = f"{written}[{inner}]"
                continue
            kind, key = self.take()
            if kind != "name":
                self.stop(f"`.{key}`")
            if self.peek() == "(":
                self.take()
                written = self.method(written, key, self.arguments(")"))
            elif key == "length":
                written = f"({written} | length)"
            else:
                plain = _PLAIN_KEY.fullmatch(key) is not None
                written = f"{written}.{key}" if plain else f"{written}[{json.dumps(key)}]"
        if self.peek() in ("?.", "??"):
            self.stop(f"`{self.peek()}`")
        return written

    def method(self, of: str, name: str, given: list[str]) -> str:
        if name in _METHODS and not given:
            return f"({of} | {_METHODS[name]})"
        if name in _METHODS_OF_ONE and len(given) == 1:
            return f"({of} | {_METHODS_OF_ONE[name]}({given[0]}))"
        calls: Mapping[str, Callable[[str], str]] = {
            "includes": lambda one: f"({one} in {of})",
            "startsWith": lambda one: f"({of} is startswith({one}))",
            "endsWith": lambda one: f"({of} is endswith({one}))",
        }
        if name in calls and len(given) == 1:
            return calls[name](given[0])
        self.stop(f"`.{name}(...)`")


def _tokens(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, source = 0, source.strip()
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise Unmapped(f"`{source[at : at + 20]}` has no counterpart")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if not found:
        raise Unmapped("an empty expression has no counterpart")
    return found


def _unquoted(written: str) -> str:
    inner = written[1:-1]
    if "\\" in inner:
        inner = re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), inner)
    return inner


def _text(written: str) -> str:
    return json.dumps(_unquoted(written), ensure_ascii=False)
