"""Encryption at rest: what a store is given that holds people's data is sealed here, and opened when it comes back.

One place between the engine and any store, and none at all without a key. AES-256-GCM; sealed bytes begin with a mark
and the id of their key, so that keys can change: the first key of the ring seals, each of them opens. What was written
before there was a key is read as it stands. A sealed value is bound to its run (a cached output to its key), so that
nobody who can write to the store puts one run's data in the place of another's.

Sealed: events, snapshots, summaries, blobs, payloads of queue rows, cached outputs, live notices. Not sealed, because
stores look for it: run ids, workflow names and documents, labels, statuses, times, paths of tasks, queues, keys of
limits. Of an error the index row keeps its type alone; its text is in the sealed summary.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from orchestrator.errors import EncryptionKeyMissing, StoreIncompatible, UsageError
from orchestrator.stores.contract import (
    NAMESPACE,
    Blob,
    ClaimAnswer,
    Commit,
    CommitAnswer,
    FeedItem,
    Leftover,
    LoadedRun,
    Notice,
    Page,
    RunFilter,
    RunIndex,
    RunRow,
    Store,
    Wake,
)

MARK = b"\x00AO1"
"""What sealed bytes begin with; no JSON does. The length and the text of the key's id follow, the nonce, the rest."""
NONCE_BYTES = 12
KEY_BYTES = 32
TAG = "+aes256gcm:"
"""In the codec of a sealed blob, between the codec of what is in it and the id of the key."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_replace = msgspec.structs.replace


class KeyRing:
    """The keys by id; the first one seals."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        # Imported where it is used: it takes its time, and only those who encrypt need it.
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise UsageError(
                "an encryption key is set, and the package `cryptography` isn't installed; "
                "install `agentic-orchestrator[encryption]`"
            ) from None
        self._invalid = InvalidTag
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys}
        self.current = keys[0][0]
        self._cipher = self._ciphers[self.current]
        self._head = MARK + bytes([len(self.current)]) + self.current.encode()

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """The ring of a setting: `[id:]key` by commas, each key 32 bytes as base64 or hex.

        A key without an id is called by the first eight digits of its SHA-256.

        Raises:
            UsageError: a key or id can't be used. No key is quoted.
        """
        keys: list[tuple[str, bytes]] = []
        for place, part in enumerate(text.split(","), start=1):
            key_id, colon, written = part.strip().rpartition(":")
            key = _key(written)
            if key is None or (colon and not _ID.fullmatch(key_id)):
                raise UsageError(
                    f"encryption key {place} can't be used: it is `key` or `id:key`, the key 32 bytes as base64 "
                    "(`openssl rand -base64 32`) or hex, the id 1 to 64 characters of `A-Z a-z 0-9 _ . -`"
                )
            keys.append((key_id or hashlib.sha256(key).hexdigest()[:8], key))
        if len({key_id for key_id, _ in keys}) < len(keys):
            raise UsageError("two encryption keys have the same id")
        return cls(keys)

    def seal(self, data: bytes, bound_to: str) -> bytes:
        """The data under the current key; nothing stays nothing."""
        if not data:
            return data
        nonce = os.urandom(NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, data, bound_to.encode())

    def open(self, data: bytes, bound_to: str) -> bytes:
        """What was sealed; what wasn't comes back as it is.

        Raises:
            EncryptionKeyMissing: its key isn't in the ring. StoreIncompatible: it isn't what was sealed.
        """
        if not data.startswith(MARK):
            return data
        key_id, rest = _split(data)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise EncryptionKeyMissing(key_id, known=tuple(self._ciphers))
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], bound_to.encode())
        except (self._invalid, ValueError):
            raise StoreIncompatible(
                f"data of {bound_to} can't be opened with the encryption key `{key_id}`: either another key has this "
                "id, or the data was changed or moved"
            ) from None


def _key(written: str) -> bytes | None:
    try:
        if len(written) == 2 * KEY_BYTES:
            return bytes.fromhex(written)
        plain = written.replace("-", "+").replace("_", "/")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def _split(data: bytes) -> tuple[str, bytes]:
    begin = len(MARK) + 1
    end = begin + data[len(MARK)]
    return data[begin:end].decode("ascii", "replace"), data[end:]


def refuse_sealed(data: bytes) -> None:
    """Say whose key is missing, if these bytes are sealed.

    Raises:
        EncryptionKeyMissing: they are.
    """
    if data.startswith(MARK) and len(data) > len(MARK):
        raise EncryptionKeyMissing(_split(data)[0], known=())


def sealed(store: Store, ring: KeyRing) -> Store:
    """The store as the engine may use it: everything that holds people's data goes in sealed and comes out open."""
    return cast(Store, _Sealed(store, ring))


class _Sealed:
    """A store behind a key ring. What isn't here holds nothing to seal, and goes to the store as it is."""

    def __init__(self, inner: Store, ring: KeyRing) -> None:
        self._inner = inner
        self._ring = ring

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    # --- writing --------------------------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Commit]) -> list[CommitAnswer]:
        # An event is sealed with another nonce when its commit is repeated: the store goes by the commit's id.
        return await self._inner.commit([self._sealed(commit) for commit in batch])

    def _sealed(self, commit: Commit) -> Commit:
        seal, run = self._ring.seal, commit.run_id
        return _replace(
            commit,
            events=[seal(event, run) for event in commit.events],
            enqueue=[
                _replace(row, payload=seal(row.payload, run)) if row.payload else row
                for row in commit.enqueue
            ],
            blobs=[self._sealed_blob(blob, run) for blob in commit.blobs],
            snapshot=None if commit.snapshot is None else seal(commit.snapshot, run),
            summary=None if commit.summary is None else seal(commit.summary, run),
            index=None if commit.index is None else _bare(commit.index),
        )

    def _sealed_blob(self, blob: Blob, run: str) -> Blob:
        codec = f"{blob.codec}{TAG}{self._ring.current}"
        return _replace(blob, codec=codec, data=self._ring.seal(blob.data, f"{run}/{blob.blob_id}"))

    async def rewrite(
        self, run_id: str, *, expected: int, after: int, events: Sequence[bytes], rest: Leftover | None = None
    ) -> bool:
        seal = self._ring.seal
        if rest is not None:
            snapshot = None if rest.snapshot is None else seal(rest.snapshot, run_id)
            rest = Leftover(snapshot=snapshot, summary=seal(rest.summary, run_id), index=_bare(rest.index))
        lines = [seal(event, run_id) for event in events]
        return await self._inner.rewrite(run_id, expected=expected, after=after, events=lines, rest=rest)

    async def put_cached(self, key: str, value: bytes, *, ttl_us: int, namespace: str = NAMESPACE) -> None:
        value = self._ring.seal(value, f"{namespace}/{key}")
        await self._inner.put_cached(key, value, ttl_us=ttl_us, namespace=namespace)

    def notify(self, notice: Notice) -> None:
        self._inner.notify(_replace(notice, data=self._ring.seal(notice.data, notice.run_id)))

    # --- reading --------------------------------------------------------------------------------------------------

    async def load(self, run_id: str, *, after: int | None = None) -> LoadedRun | None:
        found = await self._inner.load(run_id, after=after)
        if found is None:
            return None
        open_ = self._ring.open
        return _replace(
            found,
            summary=open_(found.summary, run_id),
            snapshot=None if found.snapshot is None else open_(found.snapshot, run_id),
            events=[open_(event, run_id) for event in found.events],
        )

    async def load_blob(self, run_id: str, blob_id: str) -> Blob | None:
        blob = await self._inner.load_blob(run_id, blob_id)
        if blob is None:
            return None
        codec = blob.codec.partition(TAG)[0]
        return _replace(blob, codec=codec, data=self._ring.open(blob.data, f"{run_id}/{blob_id}"))

    async def claim(self, worker: str, *, queues: Sequence[str], limit: int) -> ClaimAnswer:
        answer = await self._inner.claim(worker, queues=queues, limit=limit)
        if not any(claim.payload for claim in answer.claims):
            return answer
        claims = [_replace(one, payload=self._ring.open(one.payload, one.run_id)) for one in answer.claims]
        return _replace(answer, claims=claims)

    async def get_run(self, run_id: str) -> RunRow | None:
        row = await self._inner.get_run(run_id)
        return None if row is None else self._opened(row)

    async def list_runs(self, where: RunFilter, *, limit: int, cursor: str | None = None) -> Page[RunRow]:
        page = await self._inner.list_runs(where, limit=limit, cursor=cursor)
        return Page(items=[self._opened(row) for row in page.items], cursor=page.cursor)

    def _opened(self, row: RunRow) -> RunRow:
        return _replace(row, summary=self._ring.open(row.summary, row.run_id))

    async def read_journal(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[bytes]:
        lines = await self._inner.read_journal(run_id, after=after, limit=limit)
        return [self._ring.open(line, run_id) for line in lines]

    async def read_feed(
        self,
        *,
        cursor: str | None,
        limit: int,
        run_id: str | None = None,
        workflow: str | None = None,
        namespace: str = NAMESPACE,
    ) -> tuple[list[FeedItem], str]:
        items, more = await self._inner.read_feed(
            cursor=cursor, limit=limit, run_id=run_id, workflow=workflow, namespace=namespace
        )
        return [_replace(one, event=self._ring.open(one.event, one.run_id)) for one in items], more

    async def get_cached(self, key: str, *, namespace: str = NAMESPACE) -> bytes | None:
        value = await self._inner.get_cached(key, namespace=namespace)
        return None if value is None else self._ring.open(value, f"{namespace}/{key}")

    def subscribe(self, callback: Callable[[Wake], None]) -> Callable[[], None]:
        def hear(wake: Wake) -> None:
            if isinstance(wake, Notice):
                try:
                    wake = _replace(wake, data=self._ring.open(wake.data, wake.run_id))
                except (EncryptionKeyMissing, StoreIncompatible):
                    return  # a hint of a process with another key, which may as well be lost
            callback(wake)

        return self._inner.subscribe(hear)


def _bare(index: RunIndex) -> RunIndex:
    """The index row with no more of an error than its type: its text may quote anything."""
    return _replace(index, error=index.error.partition(": ")[0]) if index.error else index


async def check_readable(store: Store, namespace: str) -> None:
    """Look at the newest run, so that a process without the key says so at its start and not run by run.

    Raises:
        EncryptionKeyMissing: it is sealed with a key that isn't there.
    """
    page = await store.list_runs(RunFilter(namespace=namespace), limit=1)
    for row in page.items:
        refuse_sealed(row.summary)
