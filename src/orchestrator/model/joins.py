"""How the arrivals at a node become tasks: what `join` says, in one form whatever way it was written."""

from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.model.document import JoinDocument


class JoinKind(StrEnum):
    """`all` waits for what can still come, `count` for a number of arrivals, `each` for nothing.

    `one_of_each` waits for an arrival from each way in, takes one of each, and leaves the rest for the next time.
    """

    ALL = "all"
    COUNT = "count"
    EACH = "each"
    ONE_OF_EACH = "one_of_each"


class JoinRule(NamedTuple):
    """What `join` says. `any` is a count of 1. `cancel_rest`: the rest of the round is withdrawn, not swallowed."""

    kind: JoinKind = JoinKind.ALL
    wants: int = 0
    cancel_rest: bool = False


def join_rule(written: str | int | JoinDocument | None) -> JoinRule:
    """The rule that a node's `join` means."""
    match written:
        case JoinDocument():
            return JoinRule(JoinKind.COUNT, written.count, written.rest == "cancel")
        case int():
            return JoinRule(JoinKind.COUNT, written)
        case "any":
            return JoinRule(JoinKind.COUNT, 1)
        case "each" | "one_of_each":
            return JoinRule(JoinKind(written))
        case _:
            return JoinRule()


def join_written(rule: JoinRule) -> Any:
    """One spelling for each meaning; None for the default."""
    match rule.kind:
        case JoinKind.ALL:
            return None
        case JoinKind.EACH | JoinKind.ONE_OF_EACH:
            return rule.kind.value
        case JoinKind.COUNT:
            return {"count": rule.wants, **({"rest": "cancel"} if rule.cancel_rest else {})}
