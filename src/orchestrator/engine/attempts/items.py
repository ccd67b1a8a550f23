"""The list of a `for_each` on its way to its items: evaluated once, kept in chunks, one value read by each item."""

from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from orchestrator.engine.attempts.payloads import Codec, from_json, to_json
from orchestrator.errors import ExpressionFailed, InternalError, LimitExceeded
from orchestrator.kernel.state import RunState, TaskState
from orchestrator.kernel.values import ItemChunk, Payload
from orchestrator.model.limits import FOR_EACH_ITEMS_MAX
from orchestrator.model.plain import is_array, kind_of
from orchestrator.stores.contract import Blob

CHUNK_ITEMS_MAX = 1_000
CHUNK_BYTES_MAX = 256 * 1024
INLINE_ITEMS_MAX = 100
INLINE_BYTES_MAX = 8 * 1024
"""The chunks of a longer list, and a chunk over this, are blobs: the state holds them as long as the items run."""
CHUNKS_CACHED_MAX = 32


def chunks_of(
    value: Any, *, codec: Codec, run_id: str, pointer: str
) -> tuple[tuple[ItemChunk, ...], list[Blob]]:
    """The items of an evaluated `for_each`, and the blobs to commit with them.

    Raises:
        ExpressionFailed: the value is no list.
        LimitExceeded: it has too many items.
        OutputNotStorable: one of them is too large.
    """
    if not is_array(value):
        raise ExpressionFailed(f"`for_each` needs a list, and this is {kind_of(value)}", pointer=pointer)
    if len(value) > FOR_EACH_ITEMS_MAX:
        raise LimitExceeded("items of a `for_each`", value=len(value), maximum=FOR_EACH_ITEMS_MAX)
    chunks: list[ItemChunk] = []
    blobs: list[Blob] = []
    gathered: list[bytes] = []
    size = 0
    inline_max = INLINE_BYTES_MAX if len(value) <= INLINE_ITEMS_MAX else 0

    def close() -> None:
        payload, more = codec.encode_json(
            b"[" + b",".join(gathered) + b"]", run_id=run_id, inline_bytes_max=inline_max
        )
        chunks.append(ItemChunk(payload=payload, count=len(gathered)))
        blobs.extend(more)
        gathered.clear()

    for item in value:
        data = to_json(item)
        if gathered and (len(gathered) >= CHUNK_ITEMS_MAX or size + len(data) > CHUNK_BYTES_MAX):
            close()
            size = 0
        gathered.append(data)
        size += len(data) + 1
    if gathered:
        close()
    return tuple(chunks), blobs


class ItemSource(NamedTuple):
    """The chunk that holds an item, and the item's place in it."""

    payload: Payload
    place: int


def source_of(state: RunState, task: TaskState) -> ItemSource | None:
    """Where an item's value is; None for a task that isn't one."""
    if task.item is None:
        return None
    items = state.container(task).items
    rest = task.item
    for chunk in items.chunks if items is not None else ():
        if rest < chunk.count:
            return ItemSource(chunk.payload, rest)
        rest -= chunk.count
    raise InternalError(f"run {state.run_id} has no value for item `{task.path}`")


class ItemValues:
    """Chunks split into their values, the last few kept: an item decodes its own value and no other."""

    def __init__(self) -> None:
        self._split: OrderedDict[bytes | str, list[msgspec.Raw]] = OrderedDict()

    def read(self, payload: Payload, data: bytes, place: int) -> Any:
        """Fresh plain data: the value at `place` of a chunk whose JSON is `data`."""
        key = payload.blob or data
        values = self._split.get(key)
        if values is None:
            values = self._split[key] = _raws.decode(data)
            if len(self._split) > CHUNKS_CACHED_MAX:
                self._split.popitem(last=False)
        else:
            self._split.move_to_end(key)
        return from_json(values[place])


_raws = msgspec.json.Decoder(list[msgspec.Raw])
