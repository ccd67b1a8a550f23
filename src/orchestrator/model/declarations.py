"""What a node class says about itself: the part of a class that a version is pinned to."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from orchestrator.model.limits import PLAN_NODES

ANY = "*"
"""Among routes and labels: any node, or the rest."""

_ENDING = "Node"


class Effect(StrEnum):
    """What running a node does to the world (DESIGN section 5), from harmless to what must not happen twice."""

    PURE = "pure"
    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"

    @property
    def rank(self) -> int:
        """Position in the order `pure` < `read` < `write` < `irreversible`; compare these, never the texts."""
        return _RANKS[self]


_RANKS = {effect: rank for rank, effect in enumerate(Effect)}


ASK = "ask"
"""Of a task in doubt: a person resolves it."""

DOUBT_POLICIES = (ASK, "retry", "skip", "fail")
"""What may become of a task in doubt by itself."""


class ClassDeclaration(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a class declared when a version was saved; kept with the version.

    `routes` is None for a class that doesn't decide, `("*",)` for one that may choose any node, else the node ids
    that it chooses among. `may_use` names the classes that its plans may use, `("*",)` any; None: it lays no plans. One
    plan has at most `max_nodes`. The schemas are JSON Schema 2020-12, or None where nothing is known.
    """

    name: str
    class_version: int = 1
    effect: Effect = Effect.WRITE
    on_doubt: str = ASK
    routes: tuple[str, ...] | None = None
    params_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    title: str = ""
    summary: str = ""
    description: str = ""
    family: str = ""
    icon: str = ""
    may_use: tuple[str, ...] | None = None
    max_nodes: int = PLAN_NODES

    @property
    def plans(self) -> bool:
        """Whether the class may return a Plan."""
        return self.may_use is not None

    @property
    def decides(self) -> bool:
        """Whether the class may return a Route."""
        return self.routes is not None


def class_spellings(name: str) -> tuple[str, ...]:
    """The spellings a class answers to: its own name first, then the one with (or without) the ending `Node`."""
    if name.endswith(_ENDING) and len(name) > len(_ENDING):
        return name, name[: -len(_ENDING)]
    return name, name + _ENDING


def find_class(name: str, known: Mapping[str, ClassDeclaration]) -> ClassDeclaration | None:
    """The declaration that `name` means, spelt with or without the ending `Node`; None if there is none.

    An exact match wins, so that `Foo` and `FooNode` can both exist.
    """
    for spelling in class_spellings(name):
        found = known.get(spelling)
        if found is not None:
            return found
    return None
