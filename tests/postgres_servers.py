"""A PostgreSQL server of the tests' own: on a socket in a temporary folder, as a user that isn't root."""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

_USERS = ("postgres", "nobody")
_schemas = itertools.count(1)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """One server with its data in a folder; it may be stopped, killed and started again."""

    def __init__(self, folder: Path, find_program: Callable[[str], str], **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._postgres = find_program("postgres")
        self._initdb = find_program("initdb")
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._user = self._other_user() if os.geteuid() == 0 else None
        self.data = folder / "data"
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run(
            self._initdb, "-D", str(self.data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"
        )  # fmt: skip

    @staticmethod
    def _other_user() -> pwd.struct_passwd:
        for name in _USERS:
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise AssertionError(
            f"running as root, and none of the users {_USERS} exists: PostgreSQL won't start"
        )

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, *command: str) -> None:
        done = subprocess.run(  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
            command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as_user()  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]} failed: {done.stderr}"  # pyright: ignore[reportUnknownMemberType]

    def url(self, *, schema: str | None = None, port: int | None = None) -> str:
        """How to reach it over TCP; each call names a new schema unless one is given."""
        name = schema or f"s{os.getpid()}_{next(_schemas)}"
        return f"postgresql://tester@127.0.0.1:{port or self.port}/postgres?schema={name}"

    def emptied(self) -> str:
        """The URL of a schema that tests use one after another, with nothing in it: quicker than a new one."""
        import psycopg

        url = self.url(schema=f"again{os.getpid()}")
        with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
            named = connection.execute(
                "SELECT 'DELETE FROM ' || schemaname || '.' || tablename FROM pg_tables "
                "WHERE schemaname = %s AND tablename NOT IN ('store', 'migrations')",
                (f"again{os.getpid()}",),
            ).fetchall()
            if named:
                connection.execute("; ".join(statement for (statement,) in named).encode())
        return url

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            **self._settings,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # pyright: ignore[reportCallIssue]
                [self._postgres, "-D", str(self.data), *arguments],
                stdout=log, stderr=log, cwd=self.folder, **self._as_user(),  # pyright: ignore[reportArgumentType]
            )  # fmt: skip
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, (
                "PostgreSQL doesn't start: " + (self.folder / "log").read_text()[-2000:]
            )
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(schema="public").partition("?")[0], connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, SIGQUIT ("immediate") without a checkpoint, so that it recovers from its log."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid


@contextlib.contextmanager
def postgres_server(
    find_program: Callable[[str], str], *, within: Path | None = None, **settings: str
) -> Generator[PostgresServer]:
    """A running server; afterwards nothing of it is left."""
    find_program("postgres")
    if within is not None and os.geteuid() == 0:
        within.chmod(0o755)  # the server runs as somebody else
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=within))
    try:
        server = PostgresServer(folder, find_program, **settings)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
