"""The one table of what the language has and this release doesn't act on.

Each entry is taken out by the change that acts on it. Until then the checks refuse it in these words, wherever it
stands, so that no document runs otherwise than its author reads it.
"""

ACTED_ON_LATER = "is not acted on by this release"

WORKFLOW_FIELDS = ("triggers",)
"""Fields of a workflow."""

NODE_FIELDS = (
    "for_each",
    "max_parallel",
    "on_item_error",
    "complete_when",
    "limits",
    "cache",
)
"""Fields of a node."""

BUDGET_FIELDS = ("tokens", "cost_usd", "on_exceeded")
"""Fields of a budget."""

ONLY_VALUES = {"on_parent_cancel": "cancel"}
"""Fields of which this release acts on one value only."""

OTHER_VALUES = {
    "on_parent_cancel": ("abandon",),
}
"""What else the language has for them."""


def refuse_field(name: str) -> str:
    """The words for a field."""
    return f"`{name}` {ACTED_ON_LATER}"


def refuse_value(name: str, value: object) -> str | None:
    """The words for a value of one of `ONLY_VALUES`, or None if it is the one that is acted on (or left out)."""
    only = ONLY_VALUES[name]
    if value is None or value == only:
        return None
    if value in OTHER_VALUES[name]:
        return f"`{name}`: `{value}` {ACTED_ON_LATER}; it knows `{only}`"
    choices = ", ".join(f"`{choice}`" for choice in (only, *OTHER_VALUES[name]))
    return f"`{name}` is one of {choices}; this release knows `{only}`"
