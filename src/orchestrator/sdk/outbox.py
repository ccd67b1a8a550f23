"""The local outbox: a folder that messages are delivered to in place of the world, one JSON file each.

It stands in for a mail server while a workflow is being built: what would be sent can be read there, by the page
(`GET /api/v1/outbox`) and by people. A file's name comes from its run and its idempotency key, so that delivering again
under the same key adds nothing.

All of it blocks on the disk: call it from a thread, or as a step.
"""

import hashlib
import logging
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from orchestrator.errors import UsageError

FOLDER_VARIABLE = "ORCHESTRATOR_OUTBOX"
FOLDER_DEFAULT = ".orchestrator/outbox"
LIST_LIMIT_MAX = 1_000

_log = logging.getLogger(__name__)


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `id`, `at` (RFC 3339, UTC) and `idempotency_key` are filled in when it is delivered."""

    channel: str = "email"
    to: str
    subject: str
    body: str
    run: str = ""
    path: str = ""
    node: str = ""
    id: str = ""
    at: str = ""
    idempotency_key: str = ""


class OutboxPage(NamedTuple):
    """Some messages, newest first, and the cursor of those after them; None: there are no more."""

    items: tuple[OutboxMessage, ...]
    next: str | None


class _Place(NamedTuple):
    """Where a message stands in the order of the list: later first, then by file name."""

    written_ns: int
    name: str


class Outbox:
    """A folder of messages. Several processes may share it; it is made at the first delivery."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def from_environment(cls) -> Self:
        """The outbox that `ORCHESTRATOR_OUTBOX` names, else `.orchestrator/outbox` under the working directory."""
        return cls(os.environ.get(FOLDER_VARIABLE) or FOLDER_DEFAULT)

    def deliver(self, message: OutboxMessage, *, idempotency_key: str) -> OutboxMessage:
        """Write the message and return it as written. It is on the disk, whole, once this returns.

        The same key of the same run again writes nothing and returns the message that is there.

        Raises:
            UsageError: the key is empty.
            OSError: the folder can't be written; nothing was delivered.
        """
        if not idempotency_key:
            raise UsageError(
                "Outbox.deliver(...): the idempotency key is empty; hand over `ctx.idempotency_key`"
            )
        name = _file_name(message.run, idempotency_key)
        final = self.folder / name
        present = self._read(final)
        if present is not None:
            return present
        complete = msgspec.structs.replace(
            message,
            id=_message_id(name),
            at=message.at or datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            idempotency_key=idempotency_key,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(final, msgspec.json.format(msgspec.json.encode(complete), indent=2) + b"\n")
        return complete

    def list(self, *, run: str | None = None, limit: int = 50, cursor: str | None = None) -> OutboxPage:
        """Messages, newest first, of one run or of all; `cursor` is the `next` of the page before.

        Raises:
            UsageError: the limit isn't 1 to 1,000, or the cursor is not one of ours.
        """
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise UsageError(f"Outbox.list(limit={limit}): the limit is 1 to {LIST_LIMIT_MAX:,}")
        places = self._places(prefix=_digest(run) + "-" if run is not None else "")
        if cursor is not None:
            after = _decode_cursor(cursor)
            places = [p for p in places if (-p.written_ns, p.name) > (-after.written_ns, after.name)]
        page = places[:limit]
        messages = tuple(m for m in (self._read(self.folder / p.name) for p in page) if m is not None)
        more = len(places) > limit
        return OutboxPage(messages, f"{page[-1].written_ns}.{page[-1].name}" if more else None)

    def _places(self, *, prefix: str) -> "list[_Place]":
        try:
            with os.scandir(self.folder) as entries:
                found = [
                    _Place(entry.stat().st_mtime_ns, entry.name)
                    for entry in entries
                    if entry.name.endswith(".json") and entry.name.startswith(prefix)
                ]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda p: (-p.written_ns, p.name))

    def _read(self, file: Path) -> OutboxMessage | None:
        """The message in a file; None if it is gone, or (with a warning) if it is none."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=OutboxMessage)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            _log.warning("%s in the outbox is not a message (%s); remove it", file, error)
            return None

    def _write(self, final: Path, data: bytes) -> None:
        temporary = final.with_name(f"{final.name}.{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":  # elsewhere a folder can't be synced, and needn't be
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _file_name(run: str, idempotency_key: str) -> str:
    return f"{_digest(run)}-{_digest(idempotency_key)}.json"


def _message_id(name: str) -> str:
    return "msg_" + name.removesuffix(".json").replace("-", "_")


def _decode_cursor(cursor: str) -> _Place:
    written, _, name = cursor.partition(".")
    if not written.isascii() or not written.isdigit() or len(written) > 20 or not name:
        raise UsageError(f"Outbox.list(cursor={cursor!r}): use the `next` of the page before")
    return _Place(int(written), name)
