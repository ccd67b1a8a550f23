"""`orchestrator` as a person starts it: real processes on free ports, all of them ended with the test."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2

_T = TypeVar("_T")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
PATIENCE_SECONDS = 40.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def eventually(look: Callable[[], _T | None], what: str) -> _T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"{what} did not come within {PATIENCE_SECONDS:g} s")


class Program:
    """A process of the command line whose output is kept."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, environment: dict[str, str]) -> None:
        self.out, self.err = "", ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True) for name in ("out", "err")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        stream = self.process.stdout if name == "out" else self.process.stderr
        assert stream is not None
        for line in stream:
            setattr(self, name, getattr(self, name) + line.decode())

    @property
    def said(self) -> str:
        return f"--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def until(self, text: str) -> None:
        """Wait until it has said this."""
        eventually(lambda: text in self.out + self.err or self._ended(text), f"{text!r}\n{self.said}")

    def _ended(self, text: str) -> bool:
        if self.process.poll() is not None and text not in self.out + self.err:
            raise AssertionError(
                f"it ended with {self.process.returncode} before it said {text!r}\n{self.said}"
            )
        return False

    def address(self) -> str:
        """The address that a server prints."""
        self.until("http://127.0.0.1:")
        return eventually(lambda: (found := ADDRESS.search(self.out)) and found[0], "the address")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send a signal to the process and its group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(timeout=5)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Terminal:
    """Starts programs in one folder, with no setting of the shell that the tests run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: list[Program] = []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}

    def begin(self, *arguments: str, **environment: str) -> Program:
        """Start a program and don't wait for it."""
        program = Program(arguments, folder=self.folder, environment={**self.environment, **environment})
        self._begun.append(program)
        return program

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run a program to its end: exit code, stdout, stderr."""
        program = self.begin(*arguments, **environment)
        return program.wait(), program.out, program.err

    def json(self, *arguments: str, **environment: str) -> Any:
        """What a program that succeeds answers as JSON."""
        code, out, err = self.run(*arguments, "--json", **environment)
        assert code == 0, err
        return json.loads(out)

    def close(self) -> None:
        for program in self._begun:
            program.close()


def start_run(url: str, workflow: str, given: Any = None) -> str:
    """Start a run by the API; its id."""
    answer = httpx2.post(f"{url}/api/v1/workflows/{workflow}/runs", json={"input": given})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def read(url: str, path: str) -> Any:
    """A resource of the API."""
    answer = httpx2.get(f"{url}/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def ended(url: str, run_id: str) -> Any:
    """The run, once it has ended."""
    return eventually(
        lambda: run if (run := read(url, f"/runs/{run_id}"))["finished_at"] else None, f"the end of {run_id}"
    )
