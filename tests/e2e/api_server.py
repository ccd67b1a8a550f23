"""A server of its own for a test: `uvicorn orchestrator.api:app` in an empty folder, on a free port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx2

READY_SECONDS = 30.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class ApiServer:
    """The server's process. `start` may be called again after `kill` or `stop`: same folder, same port."""

    folder: Path
    environment: dict[str, str]
    port: int
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and come back once it is ready."""
        # Settings of the shell that the tests run in must not reach the server.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        command = [sys.executable, "-m", "uvicorn", "orchestrator.api:app", "--host", self.host]
        command += ["--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env={**kept, **self.environment}, stdout=log, stderr=log
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Come back once the process that was started answers and work gets on."""
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the server was not ready within {READY_SECONDS:g} s:\n{self.log}")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """Ask it to end; the seconds it took."""
        began = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - began

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)


@contextlib.contextmanager
def api_server(folder: Path, *, host: str = "127.0.0.1", **environment: str) -> Generator[ApiServer]:
    """A started server, killed at the end."""
    server = ApiServer(folder, environment, free_port(), host)
    try:
        server.start()
        yield server
    finally:
        server.kill()
