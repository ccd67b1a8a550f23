"""What the benchmarks share: a stopwatch, a sample, and running one of them in a process of its own."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement of `tasks` tasks: the time that passed, and the CPU time of all threads of the process."""

    tasks: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per task."""
        return self.cpu_seconds / self.tasks * 1e6

    def to_json(self) -> str:
        """As one line; `child` reads it."""
        return json.dumps(asdict(self))


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def sample(self, tasks: int) -> Sample:
        """What has passed since the start."""
        return Sample(
            tasks=tasks,
            seconds=time.perf_counter() - self._start,
            cpu_seconds=time.process_time() - self._cpu,
        )


def child(script: str, *arguments: str, timeout_seconds: float = 180) -> Sample:
    """Run a benchmark of this folder in a fresh process."""
    return Sample(**json.loads(output_of([sys.executable, str(HERE / script), *arguments], timeout_seconds)))


def output_of(command: Sequence[str], timeout_seconds: float = 180, cwd: Path | None = None) -> str:
    """What a command prints; if it fails, its errors end this process too."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_seconds, cwd=cwd, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def median(values: Sequence[float]) -> float:
    """The middle one: a neighbour on the machine spoils single values, and the mean with them."""
    return statistics.median(values)
