"""Opening the file, and saying in words what went wrong with it.

This module and its neighbours are the only places that know the driver. Its errors end here: `translate` turns each
into an error of ours that says where, why, and what to do.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import apsw

from orchestrator.errors import InternalError, StoreError, StoreUnavailable, UsageError

BUSY_TIMEOUT_MS = 10_000
"""How long a write waits for another process's transaction; those are milliseconds long."""
BUSY_LOOK_SECONDS = 0.0005
"""How often a writer looks whether the lock is free: a busy neighbour leaves gaps that longer pauses would miss."""

_NETWORK_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
}

Value = int | float | str | bytes | None
"""What a column holds."""
Row = tuple[Value, ...]


class Cursor(Protocol):
    """The rows of a statement, as far as we use the driver's."""

    @property
    def get(self) -> Any:
        """The only column of the only row; None without a row."""
        ...

    def fetchone(self) -> Row | None:
        """The next row."""
        ...

    def fetchall(self) -> list[Row]:
        """The rows that are left."""
        ...

    def __iter__(self) -> Iterator[Row]: ...


class Connection(Protocol):
    """The driver's connection, as far as we use it (its own types aren't known to a strict checker)."""

    @property
    def in_transaction(self) -> bool:
        """Whether BEGIN was run, and neither COMMIT nor ROLLBACK yet."""
        ...

    def execute(self, statements: str, bindings: Sequence[object] | Mapping[str, object] = (), /) -> Cursor:
        """Run statements; the rows of the last."""
        ...

    def changes(self) -> int:
        """How many rows the last statement changed."""
        ...

    def data_version(self) -> int:
        """A number that changes with every commit to the file, whoever makes it."""
        ...

    def total_changes(self) -> int:
        """How many rows were changed since the connection was opened."""
        ...

    def last_insert_rowid(self) -> int:
        """The key of the row inserted last."""
        ...

    def set_busy_timeout(self, milliseconds: int, /) -> None:
        """How long to wait for another's lock."""
        ...

    def set_busy_handler(self, handler: Callable[[int], bool], /) -> None:
        """What to do about another's lock, asked for the n-th time: False gives up."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def int_array(values: Sequence[int]) -> object:
    """A binding for `carray(?)`: a table of numbers."""
    return apsw.carray(array("q", values), flags=apsw.SQLITE_CARRAY_INT64)  # pyright: ignore[reportUnknownMemberType]


def text_array(values: Sequence[str]) -> object:
    """A binding for `carray(?)`: a table of texts as bytes (a text may hold a NUL), to be cast to TEXT."""
    encoded = tuple(value.encode() for value in values)
    return apsw.carray(encoded, flags=apsw.SQLITE_CARRAY_BLOB)  # pyright: ignore[reportUnknownMemberType]


def path_of(url: str) -> Path:
    """The file that a URL names: `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Raises:
        UsageError: it is no such URL.
    """
    scheme, mark, rest = url.partition(":///")
    if scheme != "sqlite" or not mark or not rest.strip("/") or "\0" in rest:
        raise UsageError(
            f"{url!r} doesn't name a SQLite store; write sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    return Path(rest)


def prepare_file(path: Path) -> None:
    """Make the folder (for the owner only) and the file, and refuse places where SQLite can't keep its word.

    Raises:
        StoreUnavailable: the place can't be used; the message says why.
    """
    system = _file_system(path)
    if system in _NETWORK_SYSTEMS:
        raise StoreUnavailable(
            f"{path} lies on a network file system ({system}), where SQLite can lose data; "
            "use a local disk, or a Redis or PostgreSQL store to share it between machines"
        )
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            raise StoreUnavailable(f"{path} is a folder; the store needs the name of a file")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"can't open {path} for writing: {error.strerror or error}") from error


def _file_system(path: Path) -> str:
    """The type of the file system that the path lies on, as far as the machine tells (Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        place = str(path.resolve())
    except OSError:
        return ""
    best, system = "", ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, system = point, parts[2]
    return system


def connect(path: Path, *, write: bool) -> Connection:
    """A connection with our settings. Changes nothing in the file."""
    flags = apsw.SQLITE_OPEN_READWRITE
    connection = cast(Connection, apsw.Connection(str(path), flags=flags, statementcachesize=200))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    if write:
        connection.set_busy_handler(_Patience())
    for setting in _SETTINGS if write else (*_SETTINGS, "PRAGMA query_only = 1"):
        connection.execute(setting).fetchall()
    return connection


class _Patience:
    """Waits for the write lock in short looks. SQLite's own pauses grow to 100 ms, and miss gap after gap."""

    def __init__(self) -> None:
        self._until = 0.0

    def __call__(self, times: int) -> bool:
        now = time.monotonic()
        if times == 0:
            self._until = now + BUSY_TIMEOUT_MS / 1000
        if now >= self._until:
            return False
        time.sleep(BUSY_LOOK_SECONDS)
        return True


_SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = 1",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8000",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA trusted_schema = 0",
)


def make_durable(connection: Connection, path: Path) -> None:
    """Switch to the write-ahead log and see that the file took it.

    Raises:
        StoreUnavailable: it didn't, so that acknowledged commits could be lost.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").get
    level = connection.execute("PRAGMA synchronous").get
    if mode != "wal" or level != 2:
        raise StoreUnavailable(
            f"{path} can't use SQLite's write-ahead log with full syncs (mode {mode}, synchronous {level}); "
            "its file system may lack shared memory: move the store to a local disk"
        )


def translate(error: Exception, path: Path) -> Exception:
    """Our error for a driver's error. Errors of ours pass unchanged."""
    match error:
        case StoreError() | UsageError():
            return error
        case apsw.FullError():
            return StoreUnavailable(
                f"the disk of {path} is full; nothing was written. Make room, then repeat"
            )
        case apsw.BusyError() | apsw.LockedError():
            return StoreUnavailable(
                f"another process has been writing to {path} for more than {BUSY_TIMEOUT_MS // 1000} s; "
                "nothing was written"
            )
        case apsw.NotADBError():
            return StoreUnavailable(
                f"{path} is not a SQLite database; name another file, or move this one away"
            )
        case apsw.CorruptError():
            return StoreUnavailable(
                f"{path} is damaged ({error}); stop all processes, keep a copy, and restore it from a backup"
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return StoreUnavailable(
                f"{path} can't be written: {error}; check the owner and rights of file and folder"
            )
        case apsw.CantOpenError():
            return StoreUnavailable(
                f"{path} can't be opened: {error}; check that folder and file exist and are yours"
            )
        case apsw.IOError():
            return StoreUnavailable(f"the disk of {path} answered with an error: {error}")
        case apsw.NoMemError() | MemoryError():
            return StoreUnavailable(f"not enough memory to work on {path}; nothing was written")
        case apsw.TooBigError() | UnicodeEncodeError() | OverflowError():
            return UsageError(f"a value can't be stored in {path}: {error}")
        case apsw.Error():
            return InternalError(
                f"SQLite refused a statement of ours on {path}: {type(error).__name__}: {error}"
            )
        case _:
            return error


def text_of(value: Value) -> str:
    """A column that is declared TEXT."""
    assert isinstance(value, str)
    return value


def int_of(value: Value) -> int:
    """A column that is declared INTEGER."""
    assert isinstance(value, int)
    return value


def bytes_of(value: Value) -> bytes:
    """A column that is declared BLOB."""
    assert isinstance(value, bytes)
    return value


def rows(connection: Connection, statement: str, bindings: Sequence[Value] = ()) -> list[Row]:
    """All rows of a query."""
    return connection.execute(statement, tuple(bindings)).fetchall()
