"""From text to a syntax tree: finding `{{ }}` in a text, and Jinja2's parser behind a guard.

The guard bounds length, brackets and the size of the tree before anything walks it recursively.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.model.expressions.runtime import INTEGER_MAX, Failure, is_integer
from orchestrator.model.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

CHARACTERS_MAX = DEFAULT_LIMITS.expression_characters_max
NODES_MAX = DEFAULT_LIMITS.expression_nodes_max
DEPTH_MAX = DEFAULT_LIMITS.expression_depth_max
_BRACKETS_MAX = 24

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_ESCAPE = re.compile(r"\\(?:[\\'\"nrtbf]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})", re.ASCII)


class Embedded(NamedTuple):
    """The inside of one `{{ }}` of a text."""

    source: str


def split_text(text: str) -> list[str | Embedded]:
    """The plain parts and the expressions of a text, in order. Only `{{` is special; `{%` and `{#` are plain text.

    Raises:
        Failure: an expression is not closed, or its brackets don't match.
    """
    parts: list[str | Embedded] = []
    at = 0
    while True:
        begin = text.find("{{", at)
        if begin < 0:
            break
        if begin > at:
            parts.append(text[at:begin])
        end = _scan(text, begin + 2, embedded=True)
        parts.append(Embedded(text[begin + 2 : end]))
        at = end + 2
    if at < len(text):
        parts.append(text[at:])
    return parts


def _scan(text: str, at: int, *, embedded: bool) -> int:
    """Where the expression that begins at `at` ends, checking its texts and brackets on the way."""
    begin = at
    expected: list[str] = []
    while at < len(text):
        if at - begin > CHARACTERS_MAX:
            raise Failure(f"the expression is longer than {CHARACTERS_MAX:,} characters")
        character = text[at]
        if character in "\"'":
            at = _scan_quoted(text, at)
            continue
        if character in _CLOSING:
            expected.append(_CLOSING[character])
            if len(expected) > _BRACKETS_MAX:
                raise Failure(f"brackets are nested more than {_BRACKETS_MAX} deep")
        elif character in ")]}":
            if not expected and embedded and text.startswith("}}", at):
                return at
            if not expected:
                raise Failure(f"`{character}` closes nothing")
            wanted = expected.pop()
            if wanted != character:
                raise Failure(f"unexpected `{character}` where `{wanted}` is due")
        at += 1
    if embedded:
        raise Failure("`{{` is not closed by `}}`; to write braces, use `{{ '{{' }}`")
    if expected:
        raise Failure(f"`{expected[-1]}` is missing at the end")
    if at - begin > CHARACTERS_MAX:
        raise Failure(f"the expression is longer than {CHARACTERS_MAX:,} characters")
    return at


def _scan_quoted(text: str, at: int) -> int:
    quote, begin = text[at], at
    at += 1
    while at < len(text) and text[at] != quote:
        if at - begin > CHARACTERS_MAX:
            raise Failure(f"the expression is longer than {CHARACTERS_MAX:,} characters")
        if text[at] != "\\":
            at += 1
            continue
        escape = _ESCAPE.match(text, at)
        if escape is None:
            raise Failure(f"`{text[at : at + 2]}` is no escape within quotes; write a backslash as `\\\\`")
        at = escape.end()
    if at >= len(text):
        raise Failure(f"a text within {quote} is not closed")
    return at + 1


@cache
def _environment() -> "Environment":
    from jinja2 import Environment  # heavy: paid for by the first expression, not by every import

    return Environment(autoescape=False)


def parse(source: str) -> "nodes.Expr":
    """The tree of one expression.

    Raises:
        Failure: it is none, or it is too large.
    """
    from jinja2 import TemplateSyntaxError
    from jinja2.parser import Parser

    text = source.strip()
    if not text:
        raise Failure("the expression is empty")
    if source[0] in "-+" or source[-1] in "-+":
        raise Failure("`{{-` and `-}}` mean nothing here; put a space before a sign")
    _scan(text, 0, embedded=False)
    try:
        parser = Parser(_environment(), text, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise Failure(f"unexpected `{parser.stream.current.value}` after the expression")
    except TemplateSyntaxError as error:
        raise Failure(f"it doesn't parse: {error.message}") from None
    except RecursionError:
        raise Failure("it is nested too deeply") from None
    except (ValueError, OverflowError, AssertionError) as error:
        raise Failure(f"it doesn't parse: {error}") from None
    _check_size(tree)
    return tree


def _check_size(tree: "nodes.Node") -> None:
    for count, (node, depth) in enumerate(_walk(tree), start=1):
        if count > NODES_MAX:
            raise Failure(f"it has more than {NODES_MAX} parts")
        if depth > DEPTH_MAX:
            raise Failure(f"it is nested more than {DEPTH_MAX} deep")
        value = getattr(node, "value", None)
        if isinstance(value, str):
            check_text(value)
        elif is_integer(value) and value > INTEGER_MAX:  # pyright: ignore[reportOptionalOperand] -- an integer
            raise Failure("a whole number has more than 64 bits")


def _walk(tree: "nodes.Node") -> "Iterator[tuple[nodes.Node, int]]":
    stack: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        stack.extend((child, depth + 1) for child in node.iter_child_nodes())


def check_text(text: str) -> None:
    """Refuse what no store can keep: NUL and lone surrogates."""
    if "\0" in text:
        raise Failure("a text holds the character NUL")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Failure("a text holds a lone surrogate, which is no character")
