"""The server-side functions: files of `lua/`, put together from their parts.

They are called by their hash; a server that doesn't know one (it was restarted, or took over) gets its text once.
"""

import hashlib
from functools import cache
from importlib import resources

import msgspec

_PARTS: dict[str, tuple[str, ...]] = {
    "commit": ("rows", "accounts", "lists"),
    "rewrite": ("rows", "lists"),
    "claim": ("rows",),
    "release": ("rows", "accounts"),
    "acquire": ("rows", "accounts"),
    "leased": ("rows",),
    "acquire_take": ("rows", "accounts"),
    "acquire_mark": ("rows", "accounts"),
    "ended_slots": ("rows", "accounts"),
    "call_rows": ("rows", "accounts"),
    "called_rows": ("rows", "accounts"),
    "forget": ("rows", "accounts"),
    "seqs": ("rows",),
    "rows_of": ("rows",),
    "accounts_list": ("rows", "accounts"),
}


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A function as the server knows it."""

    sha: str
    text: str


@cache
def script(name: str) -> Script:
    """The function of this name."""
    folder = resources.files("orchestrator.stores.redis") / "lua"
    parts = ("common", *_PARTS.get(name, ()), name)
    text = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return Script(sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text=text)
