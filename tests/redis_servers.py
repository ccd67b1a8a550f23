"""Redis servers of the tests' own: on free ports of the loopback, in folders of their own, stopped at the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.api_server import free_port

READY_SECONDS = 20.0
CLUSTER_SECONDS = 40.0
CLUSTER_BUS = 10_000
"""A node's bus listens this far above its port."""


@dataclass
class RedisServer:
    """One `redis-server`. `start` may be called again after it was killed: same port, same files."""

    program: str
    folder: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        path = self.folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> "RedisServer":
        """Start it, and come back when it has loaded its data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        config += ["--logfile", str(self.folder / "redis.log"), "--daemonize", "no", *self.options]
        self.process = subprocess.Popen([self.program, *config], stdin=subprocess.DEVNULL)
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            if self.process.poll() is not None:
                raise AssertionError(f"redis-server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(OSError):
                if self.say("PING").startswith(b"+PONG"):
                    return self
            time.sleep(0.02)
        raise AssertionError(f"redis-server was not ready within {READY_SECONDS:g} s:\n{self.log}")

    def say(self, *words: str) -> bytes:
        """One command in plain protocol, and what comes back first."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            connection.sendall("".join(parts).encode())
            return connection.recv(65_536)

    def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(timeout=30)

    def send(self, number: signal.Signals) -> None:
        """Any signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """End it, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(timeout=30)


def durable(sync: str) -> tuple[str, ...]:
    """The options of a server that keeps what it says it does."""
    return ("--appendonly", "yes", "--appendfsync", sync)


@contextlib.contextmanager
def redis_server(find_program: Callable[[str], str], *, options: Sequence[str]) -> Generator[RedisServer]:
    """A running server."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = RedisServer(find_program("redis-server"), folder, options=options)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis_cluster(
    find_program: Callable[[str], str], *, masters: int = 3, sync: str = "everysec"
) -> Generator[list[RedisServer]]:
    """A running cluster of masters; all slots are served."""
    program, cli = find_program("redis-server"), find_program("redis-cli")
    folder = Path(tempfile.mkdtemp(prefix="redis-cluster-"))
    options = (*durable(sync), "--cluster-enabled", "yes", "--cluster-node-timeout", "3000")
    nodes = [
        RedisServer(program, folder / str(number), port=_cluster_port(), options=options)
        for number in range(masters)
    ]
    try:
        for node in nodes:
            node.start()
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        create = [cli, "--cluster", "create", *addresses, "--cluster-yes"]
        made = subprocess.run(create, capture_output=True, timeout=CLUSTER_SECONDS, check=False)
        assert made.returncode == 0, made.stdout.decode() + made.stderr.decode()
        began = time.monotonic()
        while not all(b"cluster_state:ok" in node.say("CLUSTER", "INFO") for node in nodes):
            assert time.monotonic() - began < CLUSTER_SECONDS, nodes[0].log
            time.sleep(0.05)
        yield nodes
    finally:
        for node in nodes:
            node.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _cluster_port() -> int:
    """A free port whose bus port is free too."""
    for _ in range(200):
        port = free_port()
        if port + CLUSTER_BUS > 65_535:
            continue
        with socket.socket() as bus, contextlib.suppress(OSError):
            bus.bind(("127.0.0.1", port + CLUSTER_BUS))
            return port
    raise AssertionError("no free port for a cluster")
