"""`make up` as a newcomer meets it: which Python it takes, what it says where there is none, and all of it for real."""

import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"http://(127\.0\.0\.1|localhost):(\d+)")


@pytest.fixture
def up() -> ModuleType:
    """The script as a module of its own, so that a test can say which Pythons the machine has."""
    spec = importlib.util.spec_from_file_location("up_under_test", ROOT / "scripts" / "up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pythons:
    """Makes programs that answer the script's question as a Python would, or as something broken does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[list[str]] = []

    def add(self, name: str, body: str) -> None:
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        self.commands.append([str(program)])

    def add_python(self, name: str, version: list[int], *missing: str) -> None:
        lacking = "[" + ", ".join(f'"{part}"' for part in missing) + "]"
        path = self.folder / name
        self.add(
            name,
            f'echo \'{{"version": {version}, "path": "{path}", "missing": {lacking}, "pip": true}}\'',
        )


@pytest.fixture
def pythons(up: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pythons:
    made = Pythons(tmp_path)
    monkeypatch.setattr(up, "candidates", lambda: made.commands)
    return made


def test_the_first_python_that_can_be_used_is_taken(up: ModuleType, pythons: Pythons) -> None:
    pythons.commands.append([str(pythons.folder / "python3.13-is-not-here")])
    pythons.add("shim", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    pythons.add_python("too-old", [3, 9, 2])
    pythons.add_python("no-venv", [3, 12, 1], "venv", "ensurepip")
    pythons.add_python("too-new", [3, 14, 0])
    pythons.add_python("good", [3, 11, 2])
    pythons.add_python("good-as-well", [3, 13, 0])

    assert up.find_python() == (str(pythons.folder / "good"), (3, 11, 2))


def test_without_a_python_it_says_what_was_found_and_what_to_install(
    up: ModuleType, pythons: Pythons, capsys: pytest.CaptureFixture[str]
) -> None:
    pythons.add("shim", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    pythons.add("no-python", "echo hello")
    pythons.add_python("too-old", [3, 9, 2])
    pythons.add_python("no-venv", [3, 12, 1], "ensurepip")

    with pytest.raises(SystemExit) as ended:
        up.find_python()

    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "needs Python 3.11 to 3.13, and none was found" in said
    assert "shim: doesn't start (pyenv: python3.12: command not found)" in said
    assert "no-python: isn't a Python" in said
    assert "too-old is 3.9.2" in said
    assert "no-venv is 3.12.1, but lacks ensurepip" in said
    assert "Install one, then run this again:" in said
    assert "uv python install 3.13" in said


def test_a_machine_without_any_python_is_told_what_to_install(tmp_path: Path) -> None:
    # Make finds make's own helpers here, and no Python.
    for program in ("sh", "make", "test", "echo", "dirname"):
        found = shutil.which(program)
        assert found is not None, f"{program} is part of every system that has make"
        (tmp_path / program).symlink_to(found)

    told = subprocess.run(
        [str(tmp_path / "make"), "up"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode != 0
    assert "No Python 3 was found" in told.stderr
    assert "sudo apt-get install python3 python3-venv" in told.stderr


# --------------------------------------------------------------------------------------------- all of it, for real


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone holds: the tracked files as they stand now, and nothing else."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this isn't a git checkout")
    folder = tmp_path_factory.mktemp("clone")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Environment(dict[str, str]):
    """Variables of a process. A failing test shows its arguments; what a machine keeps secret mustn't be among them."""

    def __repr__(self) -> str:
        return f"<Environment of {len(self)} variables>"


class Started:
    """A running `make up`, read line by line until it prints its address."""

    def __init__(self, clone: Path, *, port: int, environment: Environment) -> None:
        self.said: list[str] = []
        self.process = subprocess.Popen(
            ["make", "up", f"ARGS=--port {port}"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.rest = threading.Thread(target=self.process.stdout.read, daemon=True)

    def address(self) -> tuple[str, int]:
        """Host and port of the address that it prints; what it says afterwards is thrown away."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if found := ADDRESS.search(line):
                self.rest.start()
                return found[1], int(found[2])
        pytest.fail("it ended without an address:\n" + "".join(self.said))

    def signal_group(self, number: int) -> bool:
        """Send it to the whole group, as a terminal does; whether there was anybody left to take it."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Leave nothing running, whatever came of the test."""
        self.signal_group(signal.SIGKILL)
        self.process.wait(timeout=30)
        if self.rest.is_alive():
            self.rest.join(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(clone: Path) -> Iterator[Callable[..., Started]]:
    made: list[Started] = []

    def begin(*, port: int, environment: Environment) -> Started:
        made.append(Started(clone, port=port, environment=environment))
        return made[-1]

    yield begin
    for started in made:
        started.close()


@pytest.fixture
def environment() -> Environment:
    """A newcomer's: nothing of this test run, and a Python on the path."""
    ours = ("ORCHESTRATOR_", "PYTEST_", "COV_", "VIRTUAL_ENV", "HYPOTHESIS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return Environment(kept, ORCHESTRATOR_PYTHON=sys.executable)


@pytest.fixture
def offline(environment: Environment) -> Environment:
    """The same, where whoever wants to fetch something fails at once."""
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    return Environment(environment, **proxies, PIP_NO_INDEX="1", npm_config_registry=nowhere)


@pytest.mark.slow
@pytest.mark.faults  # it is measured, so nothing may run beside it
def test_from_nothing_to_the_printed_address_and_again_without_network(
    start: Callable[..., Started], environment: Environment, offline: Environment
) -> None:
    port = free_port()
    began = time.monotonic()
    cold = start(port=port, environment=environment)
    host, served = cold.address()
    cold_seconds = time.monotonic() - began

    assert served == port
    assert get(host, served, "/healthz") == 200
    assert get(host, served, "/") == 200
    assert cold_seconds < 90

    again = start(port=port, environment=offline)
    assert again.address() == (host, served), "what runs already is named, not started twice"
    assert again.process.wait(timeout=10) == 0

    cold.signal_group(signal.SIGINT)
    cold.process.wait(timeout=30)
    assert not cold.signal_group(0), "Ctrl-C leaves no process behind"

    began = time.monotonic()
    warm = start(port=port, environment=offline)
    host, served = warm.address()
    warm_seconds = time.monotonic() - began

    assert get(host, served, "/healthz") == 200
    assert warm_seconds < 10


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def get(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
