"""Servers of the benchmark's own: on a free port, in a folder of their own, stopped at the end."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

READY_SECONDS = 10.0
REDIS_KINDS = {"redis-everysec": "everysec", "redis-always": "always"}


@contextlib.contextmanager
def redis_url(kind: str, folder: Path) -> Generator[str]:
    """A running server that keeps its append-only file below `folder`."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is missing (Debian, Ubuntu: sudo apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "yes",
    ]
    config += ["--appendfsync", REDIS_KINDS[kind], "--logfile", str(folder / "redis.log")]
    process = subprocess.Popen([program, *config], stdin=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() - began > READY_SECONDS:
                raise SystemExit(f"redis-server doesn't come up:\n{(folder / 'redis.log').read_text()}")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def postgres_url(folder: Path) -> Generator[str]:
    """A running PostgreSQL server as it is configured by default: it waits for the disk with every commit."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.postgres_servers import postgres_server

    with postgres_server(_find, within=folder) as server:
        yield server.url()


def has_postgres() -> bool:
    """Whether PostgreSQL's server can be started here."""
    return _place_of("initdb") is not None


def _find(name: str) -> str:
    found = _place_of(name)
    if found is None:
        raise SystemExit(f"{name} is missing (Debian, Ubuntu: sudo apt-get install postgresql)")
    return found


def _place_of(name: str) -> str | None:
    """Debian keeps PostgreSQL's programs out of the path; the newest comes last."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)
