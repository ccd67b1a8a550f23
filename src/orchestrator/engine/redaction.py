"""Secrets never leave the worker: their values are replaced wherever something is recorded, logged or shown."""

import base64
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus

SECRET_CHARACTERS_MIN = 4
"""A shorter value would be found by chance in ordinary text; `Redactor` leaves it alone."""


class Redactor:
    """Replaces the values of secrets, and their base64, URL, JSON and Python forms, by `[secret NAME]`."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        found: dict[str, str] = {}
        for name, value in secrets.items():
            if len(value) >= SECRET_CHARACTERS_MIN:
                for form in _forms(value):
                    found.setdefault(form, f"[secret {name}]")
        # Longest first, so that a secret that contains another is replaced whole.
        self._texts = sorted(found.items(), key=lambda item: -len(item[0]))
        self._bytes = [form.encode("utf-8", "surrogatepass") for form, _ in self._texts]

    def redact(self, text: str) -> str:
        """The text without secrets."""
        for form, mark in self._texts:
            if form in text:
                text = text.replace(form, mark)
        return text

    def touches(self, data: bytes) -> bool:
        """Whether JSON text may hold a secret."""
        return bool(self._bytes) and any(form in data for form in self._bytes)

    def redact_value(self, value: Any) -> Any:
        """Plain data without secrets, in texts, keys and numbers; containers are changed in place."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            text = str(value)
            redacted = self.redact(text)
            return value if redacted == text else redacted
        if isinstance(value, list):
            items = cast("list[Any]", value)
            items[:] = [self.redact_value(item) for item in items]
            return items
        pairs = cast("dict[str, Any]", value)
        return {self.redact(key): self.redact_value(item) for key, item in pairs.items()}


def _forms(value: str) -> set[str]:
    raw = value.encode("utf-8", "surrogatepass")
    encoded = [base64.b64encode(raw), base64.urlsafe_b64encode(raw)]
    forms = {value, quote(value, safe=""), quote_plus(value), quote(value)}
    forms |= {e.decode() for e in encoded} | {e.decode().rstrip("=") for e in encoded}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    # As Python shows it: errors often quote a value, or a list with it.
    shown = {repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1]}
    forms |= shown | {form.replace("\\'", "'").replace("'", "\\'") for form in shown}
    return {form for form in forms if len(form) >= SECRET_CHARACTERS_MIN}
