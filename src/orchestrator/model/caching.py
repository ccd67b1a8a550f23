"""`cache` as the worker uses it, and which nodes may have it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Fault
from orchestrator.model.declarations import ClassDeclaration, Effect
from orchestrator.model.document import NodeDocument
from orchestrator.model.durations import to_microseconds
from orchestrator.model.expressions import References, Template, compile_value
from orchestrator.model.plain import is_array, is_dict
from orchestrator.model.pointers import join_pointer

CACHEABLE = (Effect.PURE, Effect.READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRule:
    """How long an output is kept, and under which key; no key: what the params came to."""

    ttl_us: int
    key: Template | None


def compile_cache(
    written: NodeDocument, *, pointer: str, faults: list[Fault] | None = None
) -> CacheRule | None:
    """The rule of a node; None where its outputs aren't kept.

    Raises:
        ExpressionFailed: the key doesn't compile (only without `faults`).
    """
    whole = written.cache
    if whole is None:
        return None
    key = None
    if whole.key is not None:
        key = compile_value(whole.key, pointer=f"{pointer}/cache/key", faults=faults)
    return CacheRule(ttl_us=to_microseconds(whole.ttl), key=key)


def check_cache(node: str, written: NodeDocument, declaration: ClassDeclaration | None) -> Iterator[Fault]:
    """What is wrong with a node's `cache` beside its key's expression."""
    whole = written.cache
    if whole is None or declaration is None:
        return
    at = join_pointer("/nodes", node, "cache")
    tightened = Effect(written.effect) if written.effect is not None else declaration.effect
    effect = max(declaration.effect, tightened, key=lambda one: one.rank)
    if effect not in CACHEABLE:
        whose = f"class `{declaration.name}` has" if declaration.effect is effect else "the node has"
        message = (
            f"{whose} effect `{effect.value}`, and only what is `pure` or `read` can be cached: a hit would leave out "
            "what running it does to the world"
        )
        yield Fault(pointer=at, code="not_cacheable", message=message)
    if whole.key is None and reads_secrets(dict(written.params)):
        message = (
            "the node's params read secrets, which don't enter the key of a cached output; give `cache` a `key` that "
            "says what the output depends on"
        )
        yield Fault(pointer=at, code="secret_kept", message=message)


def reads_secrets(params: Any) -> bool:
    """Whether an expression in these params reads a secret. One that doesn't compile is told of elsewhere."""
    stack: list[Any] = [params]
    while stack:
        current = stack.pop()
        if is_dict(current):
            stack.extend(current.values())
        elif is_array(current):
            stack.extend(current)
        elif isinstance(current, str) and "{{" in current:
            found: list[Fault] = []
            references: References = compile_value(current, pointer="", faults=found).references
            if references.secrets:
                return True
    return False
