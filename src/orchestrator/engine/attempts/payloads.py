"""Values of users' code as JSON, and back: what a node gives is kept as its JSON says, or its task fails clearly."""

import base64
import hashlib
import json
import zlib
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from pydantic import BaseModel

from orchestrator.engine.redaction import Redactor
from orchestrator.errors import OutputNotStorable, StoreIncompatible
from orchestrator.kernel.values import NULL, Payload
from orchestrator.stores.contract import Blob

PLAIN = "json"
"""The codec tag of plain JSON."""
COMPRESSED = "json+zlib"
"""The codec tag of JSON that zlib has compressed."""
COMPRESSION_LEVEL = 1
COMPRESSED_IS_SMALLER_BY = 0.9
"""What compression doesn't bring under this share of its size is kept plain."""

_decode = msgspec.json.Decoder().decode


def to_json(value: Any) -> bytes:
    """The value as UTF-8 JSON, keys in their order.

    Models, dataclasses, dates, UUIDs and enums become what their JSON is; sets and tuples become lists, bytes base64.

    Raises:
        OutputNotStorable: something in it has no JSON (the message names its type), is NaN or infinite, is nested too
            deep, or is text that isn't Unicode (a lone surrogate).
    """
    try:
        data = _encode_fast(value)
        if b"null" not in data:
            return data
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass  # the careful way below handles it, or says what is wrong with it
    # The fast encoder writes NaN as null without a word, and knows no pydantic models or integers beyond 64 bits.
    try:
        return _careful.encode(value).encode()
    except RecursionError:
        raise OutputNotStorable("the value is nested too deep, or contains itself") from None
    except UnicodeEncodeError as error:
        raise OutputNotStorable(f"a text in the value isn't valid Unicode: {error.reason}") from None
    except (TypeError, ValueError) as error:
        raise OutputNotStorable(f"the value can't be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] -- anything
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} has no JSON form")


_encode_fast = msgspec.json.Encoder().encode
_careful = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def from_json(data: bytes | msgspec.Raw) -> Any:
    """Fresh plain data."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return json.loads(bytes(data))  # what only Python's JSON reads, such as integers beyond 64 bits


class Codec:
    """Makes payloads: inline up to a limit, above it a blob of the run; over the hard limit an error."""

    def __init__(self, *, inline_bytes_max: int, payload_bytes_max: int, redactor: Redactor) -> None:
        self._inline_max = inline_bytes_max
        self._payload_max = payload_bytes_max
        self._redactor = redactor

    def encode(self, value: Any, *, run_id: str) -> tuple[Payload, list[Blob]]:
        """The payload of a value, and the blob to commit with it if it is large.

        Raises:
            OutputNotStorable: it isn't JSON, or over the hard limit (the message names both sizes).
        """
        if value is None:
            return NULL, []
        return self.encode_json(to_json(value), run_id=run_id)

    def encode_json(
        self, data: bytes, *, run_id: str, inline_bytes_max: int | None = None
    ) -> tuple[Payload, list[Blob]]:
        """As `encode`, of a value that is JSON already. `inline_bytes_max` may lower the limit of what stays inline.

        Raises:
            OutputNotStorable: it is over the hard limit.
        """
        if self._redactor.touches(data):
            data = to_json(self._redactor.redact_value(json.loads(data)))
        inline_max = self._inline_max if inline_bytes_max is None else min(self._inline_max, inline_bytes_max)
        if len(data) <= inline_max:
            return Payload(value=msgspec.Raw(data)), []
        if len(data) > self._payload_max:
            raise OutputNotStorable(
                f"the value is {len(data):,} bytes of JSON, more than the limit of {self._payload_max:,}; "
                "store it elsewhere and return a reference"
            )
        digest = hashlib.sha256(data).hexdigest()
        return Payload(blob=digest, run=run_id, bytes=len(data), sha256=digest), [encoded(digest, data)]


def encoded(blob_id: str, data: bytes) -> Blob:
    """JSON as a blob is stored: compressed where that is worth it."""
    smaller = zlib.compress(data, COMPRESSION_LEVEL)
    if len(smaller) < len(data) * COMPRESSED_IS_SMALLER_BY:
        return Blob(blob_id=blob_id, codec=COMPRESSED, data=smaller)
    return Blob(blob_id=blob_id, codec=PLAIN, data=data)


def decoded(blob: Blob) -> bytes:
    """The JSON of a blob.

    Raises:
        StoreIncompatible: its codec is of another release, or it isn't what its codec says.
    """
    if blob.codec == PLAIN:
        return blob.data
    if blob.codec != COMPRESSED:
        raise StoreIncompatible(
            f"blob {blob.blob_id} has codec `{blob.codec}`, which this release doesn't know"
        )
    try:
        return zlib.decompress(blob.data)
    except zlib.error as error:
        raise StoreIncompatible(f"blob {blob.blob_id} can't be decompressed: {error}") from None
