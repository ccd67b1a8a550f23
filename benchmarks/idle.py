"""What a server costs that has nothing to do: API, page and a worker, as `orchestrator dev` and `serve` start them.

python benchmarks/idle.py --command serve --seconds 20
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

READY_SECONDS = 30.0
SETTLE_SECONDS = 3.0
STOP_SECONDS = 15.0


@contextlib.contextmanager
def server(command: str, folder: Path) -> Generator["subprocess.Popen[str]"]:
    """A server on a free port, ready to answer, with an empty store; ended with the block."""
    program = Path(sys.executable).parent / "orchestrator"
    errors = folder / "errors.txt"
    with errors.open("w") as written:
        process = subprocess.Popen(
            [str(program), command, "--port", "0", "--json"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    try:
        _wait_until_ready(process, errors)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_ready(process: "subprocess.Popen[str]", errors: Path) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the server did not start:\n{errors.read_text()[-4000:]}")
    told: dict[str, Any] = json.loads(line)
    url = f"{str(told['url']).rstrip('/')}/readyz"
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError as error:
            if time.monotonic() > end:
                raise SystemExit(f"{url} is not ready: {error}\n{errors.read_text()[-4000:]}") from None
        time.sleep(0.1)


def family(process_id: int) -> list[int]:
    """A process and all that it has started, as `/proc` tells."""
    found = [process_id]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def cpu_seconds(process_ids: list[int]) -> float:
    """The CPU time that these processes have used so far."""
    ticks = 0
    for one in process_ids:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(command: str, *, seconds: float) -> dict[str, float]:
    """The share of one core that an idle server uses, all of its processes together."""
    with tempfile.TemporaryDirectory() as folder, server(command, Path(folder)) as process:
        time.sleep(SETTLE_SECONDS)
        members = family(process.pid)
        before, start = cpu_seconds(members), time.perf_counter()
        time.sleep(seconds)
        used, took = cpu_seconds(members) - before, time.perf_counter() - start
    return {"core_share": used / took, "cpu_seconds": used, "seconds": took, "processes": len(members)}


def supported() -> bool:
    """Whether this system tells the CPU time of other processes the way that is read here."""
    return Path("/proc/self/stat").exists()


def main() -> None:
    """One measurement, as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--command", choices=["dev", "serve"], default="dev")
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    if not supported():
        raise SystemExit("this system has no /proc; the idle server can be measured on Linux only")
    print(json.dumps(measure(args.command, seconds=args.seconds)))


if __name__ == "__main__":
    main()
