"""The one table of what the language has and this release doesn't act on.

Each entry is taken out by the change that acts on it. Until then the checks refuse it in these words, wherever it
stands, so that no document runs otherwise than its author reads it.
"""

ACTED_ON_LATER = "is not acted on by this release"

WORKFLOW_FIELDS = ("triggers",)
"""Fields of a workflow."""

NODE_FIELDS: tuple[str, ...] = ()
"""Fields of a node."""


def refuse_field(name: str) -> str:
    """The words for a field."""
    return f"`{name}` {ACTED_ON_LATER}"
