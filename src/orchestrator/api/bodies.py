"""Reading request bodies: size before reading, nesting before parsing, then strict JSON, then the shape.

Nothing that a client sends gets past here unless it is what JSON calls JSON and what this process can keep: no NaN, no
number out of range, no lone surrogate, no key twice. The rules are those of `model.reading`; this reader is made for
values of many MiB, which must not hold up the event loop, and knows nothing of documents.
"""

import asyncio
import json
import re
from typing import Any, BinaryIO, TypeVar

import msgspec
from fastapi import Request
from pydantic import BaseModel, ValidationError

from orchestrator.api.problems import Refusal, invalid_body
from orchestrator.errors import Fault, LimitExceeded
from orchestrator.model.limits import DEFAULT_LIMITS
from orchestrator.model.reading import Syntax

M = TypeVar("M", bound=BaseModel)

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

DEPTH_MAX = DEFAULT_LIMITS.document_depth_max
SMALL_BODY_BYTES = 64 * 1024
"""More than this is parsed beside the event loop."""

_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1


def is_json(content_type: str) -> bool:
    """Whether the content type is JSON's, in UTF-8."""
    return _kind(content_type) == "application/json"


def is_yaml(content_type: str) -> bool:
    """Whether the content type is YAML's (RFC 9512, or one of the names before it), in UTF-8."""
    return _kind(content_type) in YAML_TYPES


def _kind(content_type: str) -> str | None:
    kind, _, rest = content_type.partition(";")
    charset = rest.strip().lower().replace('"', "").replace(" ", "")
    return kind.strip().lower() if charset in ("", "charset=utf-8", "charset=utf8") else None


def syntax_of(request: Request) -> Syntax:
    """How a document is written, by its content type."""
    return "yaml" if is_yaml(request.headers.get("content-type", "")) else "json"


async def read_raw(request: Request, *, limit_bytes: int, limit_name: str = "request body") -> bytes:
    """The body as it came, not looked into.

    Raises:
        LimitExceeded: it is longer, or says that it is; the rest isn't read.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise LimitExceeded(limit_name, value=int(announced), maximum=limit_bytes, unit="bytes")
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > limit_bytes:
            raise LimitExceeded(limit_name, value=length, maximum=limit_bytes, unit="bytes")
        parts.append(part)
    return b"".join(parts)


async def spool(request: Request, file: BinaryIO, *, limit_bytes: int) -> None:
    """The body into a file, however large, not looked into.

    Raises:
        LimitExceeded: it is longer, or says that it is; the rest isn't read.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise LimitExceeded("run file", value=int(announced), maximum=limit_bytes, unit="bytes")
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > limit_bytes:
            raise LimitExceeded("run file", value=length, maximum=limit_bytes, unit="bytes")
        await asyncio.to_thread(file.write, part)


async def read(request: Request, model: type[M], *, limit_bytes: int) -> M:
    """The body as a `model`. No body at all means `{}`.

    Raises:
        LimitExceeded: it is too long.
        Refusal: it isn't strict JSON, is nested too deep, or has another shape.
    """
    raw = await read_raw(request, limit_bytes=limit_bytes)
    if not raw:
        raw = b"{}"
    value = strict_json(raw) if len(raw) <= SMALL_BODY_BYTES else await asyncio.to_thread(strict_json, raw)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_body(error) from None


def strict_json(raw: bytes) -> Any:
    """The value of a JSON text that means the same to everybody.

    Raises:
        Refusal: 400 with code `invalid_json` for anything else.
    """
    depth = nesting(raw)
    if depth > DEPTH_MAX:
        raise _invalid(f"nested {depth:,} deep or more; at most {DEPTH_MAX} is taken", code="too_deep")
    try:
        value = msgspec.json.decode(raw)
    except UnicodeDecodeError as error:
        raise _invalid(f"not UTF-8 at byte {error.start}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _invalid(f"not JSON: {error}") from None
    # The decoder above is strict in everything but this: of a key that comes twice it keeps the last, and integers may
    # be longer than others can read.
    json.loads(raw, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_long)
    return value


def nesting(raw: bytes) -> int:
    """How deep brackets and braces nest; stops counting a little above the limit. Never recurses."""
    depth = deepest = 0
    for token in _TOKENS.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > DEPTH_MAX:
                    break
        elif first in b"]}":
            depth -= 1
    return deepest


def _refuse_long(written: str) -> int:
    if len(written) > 20 or not _INTEGER_MIN <= int(written) <= _INTEGER_MAX:
        raise _invalid(f"the integer {written[:30]} has more than 64 bits")
    return 0


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise _invalid(f"the key {key[:100]!r} stands twice in one object", code="duplicate_key")
            seen.add(key)
    return found


def _invalid(message: str, *, code: str = "invalid_json") -> Refusal:
    return Refusal(
        message,
        status=400,
        code=code,
        title="The body isn't JSON that can be taken",
        faults=[Fault(pointer="", code=code, message=message)],
    )
