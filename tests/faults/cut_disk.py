"""A disk that loses power: kill -9 alone proves nothing, because what was written survives it in the page cache.

A VFS under SQLite notes every write, and at every sync what is safe from then on. A cut gives the files as such a disk
may have them afterwards: all that was synced, and of what was written since any part, sector by sector, in any order,
with a torn sector in it.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR_BYTES = 512

Write = tuple[int, bytes] | int
"""An offset and what was written there; or the length that the file was cut to."""


@dataclass
class _File:
    safe: bytearray = field(default_factory=bytearray)
    since: list[Write] = field(default_factory=list[Write])


class CutDisk:
    """`install` before the store is opened, `remove` after it is closed. `moment` is called before every operation.

    A disk that `lies` keeps nothing at a sync: what a test on it must notice.
    """

    def __init__(self, *, lies: bool = False) -> None:
        self.moment: Callable[[], None] = lambda: None
        self.operations = 0
        self.syncs = 0
        self._lies = lies
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._vfs: apsw.VFS | None = None

    def install(self) -> None:
        """From now on every connection of this process lies on this disk."""
        self._vfs = _Vfs(self)

    def remove(self) -> None:
        """Connections opened from now on lie on the real disk again."""
        assert self._vfs is not None
        self._vfs.unregister()
        self._vfs = None

    def opened(self, name: str) -> None:
        with self._lock:
            self._files.setdefault(name, _File(bytearray(Path(name).read_bytes())))

    def deleted(self, name: str) -> None:
        with self._lock:
            self._files.pop(name, None)

    def wrote(self, name: str, write: Write) -> None:
        with self._lock:
            self.operations += 1
            self.moment()
            self._files[name].since.append(write)

    def synced(self, name: str) -> None:
        with self._lock:
            self.operations += 1
            self.moment()
            self.syncs += 1
            if self._lies:
                return
            file = self._files[name]
            for write in file.since:
                _apply(file.safe, write)
            file.since.clear()

    def cut(self, draw: random.Random) -> dict[str, bytes]:
        """What a disk may hold after the power failed at this moment, by file name."""
        with self._lock:
            return {Path(name).name: _remains(file, draw) for name, file in self._files.items()}


def _apply(content: bytearray, write: Write) -> None:
    if isinstance(write, int):
        del content[write:]
        return
    offset, data = write
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _remains(file: _File, draw: random.Random) -> bytes:
    content = bytearray(file.safe)
    kept = draw.choice((0.0, 0.2, 0.8, 1.0))
    sectors: list[Write] = []
    for write in file.since:
        sectors.extend([write] if isinstance(write, int) else _sectors(*write))
    for sector in sectors:
        if draw.random() < kept:
            _apply(content, sector)
    if sectors and not isinstance(last := sectors[-1], int) and draw.random() < 0.5:
        offset, data = last
        _apply(content, (offset, data[: draw.randrange(len(data))]))
    return bytes(content)


def _sectors(offset: int, data: bytes) -> list[Write]:
    """A write, in the pieces that a disk writes or doesn't."""
    found: list[Write] = []
    at = 0
    while at < len(data):
        length = min(len(data) - at, SECTOR_BYTES - (offset + at) % SECTOR_BYTES)
        found.append((offset + at, data[at : at + length]))
        at += length
    return found


class _Vfs(apsw.VFS):
    def __init__(self, disk: CutDisk) -> None:
        self._disk = disk
        super().__init__("cut-disk", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 (the name that SQLite gives it)
        return _VfsFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 (the name that SQLite gives it)
        super().xDelete(filename, syncdir)
        self._disk.deleted(filename)


class _VfsFile(apsw.VFSFile):
    def __init__(self, disk: CutDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = (
            "" if name is None else str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        )
        super().__init__("unix", name, flags)
        if self._name:
            disk.opened(self._name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 (the name that SQLite gives it)
        if self._name:
            self._disk.wrote(self._name, (offset, bytes(data)))
        super().xWrite(data, offset)  # pyright: ignore[reportUnknownMemberType]  (the driver types it by half)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 (the name that SQLite gives it)
        if self._name:
            self._disk.wrote(self._name, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 (the name that SQLite gives it)
        super().xSync(flags)
        if self._name:
            self._disk.synced(self._name)
