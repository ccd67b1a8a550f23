"""How values that the database doesn't look into are laid out in its columns."""

from collections.abc import Sequence

import msgspec

from orchestrator.stores.contract import Granted, RunIndex

_encode_json = msgspec.json.Encoder().encode
_encode_frame = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_leases = msgspec.json.Decoder(list[tuple[str, int]]).decode

decode_index = msgspec.json.Decoder(RunIndex).decode
"""A run's index row from its `record` column."""


def encode_index(index: RunIndex) -> bytes:
    """The `record` column. An error text may hold anything; what isn't Unicode in it is replaced."""
    try:
        return _encode_json(index)
    except UnicodeEncodeError:
        clean = index.error.encode("utf-8", "replace").decode()
        return _encode_json(msgspec.structs.replace(index, error=clean))


def pack_events(events: Sequence[bytes]) -> tuple[bytes, int]:
    """Events of one commit as one value, and whether they had to be framed."""
    if len(events) == 1:
        return events[0], 0
    joined = b"\n".join(events)
    if events and joined.count(b"\n") != len(events) - 1:
        return _encode_frame(list(events)), 1
    return joined, 0


def unpack_events(data: bytes, count: int, framed: int) -> list[bytes]:
    """The events that `pack_events` put together."""
    if framed:
        return _decode_frame(data)
    if count == 1:
        return [data]
    return data.split(b"\n") if count else []


def pack_leases(leases: Sequence[Granted]) -> bytes | None:
    """What a commit granted, to be told again to a repeat."""
    return _encode_json([(lease.path, lease.epoch) for lease in leases]) if leases else None


def unpack_leases(data: bytes | None, run_id: str) -> list[Granted]:
    """The leases that `pack_leases` noted."""
    if data is None:
        return []
    return [Granted(run_id=run_id, path=path, epoch=epoch) for path, epoch in _decode_leases(data)]
