"""How the API writes its answers: JSON by msgspec, because the engine's views are structs and raw JSON already."""

from typing import Any

import msgspec
from starlette.responses import Response

_ENCODER = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """The JSON of a view: dicts, msgspec structs and `msgspec.Raw` in any mixture."""
    return _ENCODER.encode(value)


class JSONAnswer(Response):
    """An answer that is already what the client gets; nothing validates it again."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return encode(content)


class RawAnswer(Response):
    """An answer that is JSON text already."""

    media_type = "application/json"


def page(items: Any, cursor: str | None = None) -> JSONAnswer:
    """A list: `{items, next}`."""
    return JSONAnswer({"items": items, "next": cursor})
