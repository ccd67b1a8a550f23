"""The nearest right thing, for messages."""

from collections.abc import Collection
from difflib import SequenceMatcher

_CUTOFF = 0.6
_LENGTH_MAX = 200


class Nearest:
    """Finds the name that somebody probably meant; stops looking after so many comparisons in all.

    One of these serves one whole check, so that a document with thousands of wrong names is still answered at once.
    """

    def __init__(self, *, comparisons: int = 40_000) -> None:
        self._left = comparisons
        self._known: dict[tuple[str, int], str | None] = {}

    def find(self, wrong: str, names: Collection[str]) -> str | None:
        """The most similar of `names`, or None if none is similar. `names` must outlive this object unchanged."""
        key = (wrong, id(names))
        if key not in self._known:
            self._known[key] = self._search(wrong, names)
        return self._known[key]

    def _search(self, wrong: str, names: Collection[str]) -> str | None:
        if not wrong or len(wrong) > _LENGTH_MAX:
            return None
        matcher = SequenceMatcher(a="", b=wrong.lower(), autojunk=False)
        best, best_ratio = None, _CUTOFF
        for name in names:
            self._left -= 1
            if self._left < 0:
                break
            if len(name) > _LENGTH_MAX:
                continue
            matcher.set_seq1(name.lower())
            if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio:
                ratio = matcher.ratio()
                if ratio > best_ratio:
                    best, best_ratio = name, ratio
        return best


def did_you_mean(suggestion: str | None) -> str:
    """The tail of a message that names a suggestion."""
    return f"; did you mean `{suggestion}`?" if suggestion else ""


def shorten(text: str, *, length: int = 100) -> str:
    """A text for a message: on one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
