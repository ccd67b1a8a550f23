"""The processes that have the same file open: who is alive, and how they wake one another.

Beside `store.db` lies the folder `store.db.procs`. Each process that opens the store puts one file `<name>.lock` there
and holds an operating system's lock on it for as long as it lives; the kernel lets go of it whatever kills the process.
So a worker whose process's lock is free is dead for certain, and nobody waits for its lease to run out. The file holds
the path of the process's datagram socket, to which the others send wake-ups. All of that is a help, never the truth:
a lost datagram costs a slow poll.

The locks are POSIX record locks, because a forked child must not inherit them. Such a lock is let go when *any*
descriptor of the file is closed in its process: hence `_OURS`, the lock files that this process must not open again.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from orchestrator.errors import StoreUnavailable
from orchestrator.stores.contract import Notice, QueueWake, RunAdvanced, Wake

DATAGRAM_BYTES_MAX = 2_000 if os.uname().sysname == "Darwin" else 60_000
JOIN_ATTEMPTS = 20
PEERS_SECONDS = 1.0
"""How old the list of other processes may be."""
SOCKET_PATH_MAX = 100
"""Longer socket paths don't fit into the operating system's address."""

_OURS: set[str] = set()


class _Hello(msgspec.Struct, frozen=True, tag="hello", array_like=True):
    """Somebody came: look again who is there."""


class _Queues(msgspec.Struct, frozen=True, tag="queues", array_like=True):
    queues: list[str]


class _Advanced(msgspec.Struct, frozen=True, tag="advanced", array_like=True):
    run_id: str
    workflow: str
    seq: int


class _Note(msgspec.Struct, frozen=True, tag="note", array_like=True):
    run_id: str
    workflow: str
    data: bytes


_Message = _Hello | _Queues | _Advanced | _Note
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Message]).decode


class Processes:
    """This process's place among those of one store.

    `join` and `leave` belong to the thread that opens and closes the store, `send` and `dead` to the writer thread,
    `receive` to the event loop.
    """

    def __init__(self, database: Path) -> None:
        self.folder = database.with_name(database.name + ".procs")
        self.name = secrets.token_hex(8)
        self._lock_path = self.folder / f"{self.name}.lock"
        self._lock: int | None = None
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._address = ""
        self._spare_folder: Path | None = None
        self._peers: dict[str, str] = {}
        self._peers_until = 0.0

    @property
    def inbox(self) -> socket.socket | None:
        """The socket that wake-ups arrive at."""
        return self._inbox

    def join(self) -> None:
        """Take the lock, open the socket, tell the others.

        Raises:
            StoreUnavailable: the folder beside the file can't be used.
        """
        for attempt in range(JOIN_ATTEMPTS):
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                self._open_sockets()
                self._take_lock()
                break
            except OSError as error:
                self.leave()
                # The last of the others may have removed the empty folder under our hands.
                if not isinstance(error, FileNotFoundError) or attempt == JOIN_ATTEMPTS - 1:
                    raise StoreUnavailable(
                        f"can't use {self.folder} for locks: {error.strerror or error}"
                    ) from error
        self.send_messages([_Hello()])

    def _open_sockets(self) -> None:
        address = self.folder / f"{self.name}.sock"
        if len(os.fsencode(address.absolute())) > SOCKET_PATH_MAX:
            self._spare_folder = Path(tempfile.mkdtemp(prefix="orchestrator-"))
            address = self._spare_folder / "wake.sock"
        self._address = str(address.absolute())
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inbox.setblocking(False)
        self._inbox.bind(self._address)
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outbox.setblocking(False)

    def _take_lock(self) -> None:
        # Under another name until it is locked: nobody may find the file and take it for a dead process's.
        early = self.folder / f"{self.name}.new"
        self._lock = os.open(early, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _OURS.add(str(self._lock_path.absolute()))
        fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._lock, self._address.encode())
        early.rename(self._lock_path)

    def leave(self) -> None:
        """Let go of everything; also right after a `join` that failed half-way."""
        for end in (self._inbox, self._outbox):
            if end is not None:
                end.close()
        self._inbox = self._outbox = None
        if self._address:
            _remove(Path(self._address))
        if self._spare_folder is not None:
            with contextlib.suppress(OSError):
                self._spare_folder.rmdir()
        if self._lock is not None:
            _remove(self._lock_path)
            _remove(self.folder / f"{self.name}.new")
            os.close(self._lock)
            self._lock = None
        _OURS.discard(str(self._lock_path.absolute()))
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # only the last one finds it empty

    def dead(self, names: Iterable[str]) -> set[str]:
        """Of these processes, those that don't live any more. Their files are removed."""
        return {name for name in names if not self._lives(name)}

    def clean(self) -> None:
        """Remove what killed processes left lying."""
        for path in self.folder.glob("*.lock"):
            self._lives(path.stem)

    def _lives(self, name: str) -> bool:
        path = self.folder / f"{name}.lock"
        if str(path.absolute()) in _OURS:
            return True
        try:
            probe = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            address = os.read(probe, 4096).decode(errors="replace")
            if address:
                _remove(Path(address))
            _remove(path)
            return False
        finally:
            os.close(probe)

    # --- wake-ups -----------------------------------------------------------------------------------------------------

    def alone(self) -> bool:
        """Whether no other process has the file open, as far as is known."""
        return not self._current_peers()

    def send(self, wakes: Iterable[Wake]) -> None:
        """Tell the other processes, as well as can be. What doesn't fit into a datagram is left out."""
        if not self._current_peers():
            return
        messages: list[_Message] = []
        for wake in wakes:
            match wake:
                case QueueWake(queues=queues):
                    messages.append(_Queues(list(queues)))
                case RunAdvanced(run_id=run_id, workflow=workflow, seq=seq):
                    messages.append(_Advanced(run_id, workflow, seq))
                case Notice(run_id=run_id, workflow=workflow, data=data):
                    messages.append(_Note(run_id, workflow, data))
        self.send_messages(messages)

    def send_messages(self, messages: list[_Message]) -> None:
        """Send to every peer, in as many datagrams as it takes."""
        if not messages or self._outbox is None:
            return
        data = _encode(messages)
        if len(data) > DATAGRAM_BYTES_MAX:
            if len(messages) > 1:
                half = len(messages) // 2
                self.send_messages(messages[:half])
                self.send_messages(messages[half:])
            return
        for name, address in list(self._current_peers().items()):
            try:
                self._outbox.sendto(data, address)
            except (FileNotFoundError, ConnectionRefusedError):
                del self._peers[name]
            except OSError:
                continue  # its inbox is full; it will look by itself

    def _current_peers(self) -> dict[str, str]:
        now = time.monotonic()
        if now >= self._peers_until:
            self._peers_until = now + PEERS_SECONDS
            self._peers = {}
            for path in self.folder.glob("*.lock"):
                if path.stem != self.name:
                    address = self._address_of(path)
                    if address:
                        self._peers[path.stem] = address
        return self._peers

    def _address_of(self, path: Path) -> str:
        """Where a peer listens. Another store of this process has its socket at the usual place only."""
        if str(path.absolute()) in _OURS:
            usual = path.with_suffix(".sock")
            return str(usual.absolute()) if usual.exists() else ""
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def receive(self) -> list[Wake]:
        """Everything that has arrived. A message that isn't understood is passed over."""
        wakes: list[Wake] = []
        while self._inbox is not None:
            try:
                data = self._inbox.recv(DATAGRAM_BYTES_MAX)
            except OSError:
                break
            try:
                messages = _decode(data)
            except msgspec.MsgspecError:
                continue  # of another release
            for message in messages:
                match message:
                    case _Hello():
                        self._peers_until = 0.0
                    case _Queues(queues):
                        wakes.append(QueueWake(queues=queues))
                    case _Advanced(run_id, workflow, seq):
                        wakes.append(RunAdvanced(run_id=run_id, workflow=workflow, seq=seq))
                    case _Note(run_id, workflow, data):
                        wakes.append(Notice(run_id=run_id, workflow=workflow, data=data))
        return wakes


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
