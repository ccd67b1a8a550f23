"""Every bar of speed: what was measured, the limit, and whether it was met. Ends with 1 if one was missed.

Machines are shared and noisy, so what can be a ratio is one: both sides take turns in processes of their own, each
round gives one ratio, and the median counts.

    make bench                              all of it, about two minutes
    make bench ARGS="--only chains"         one bar (chains, lone, import, run, idle, memory)
    make bench ARGS="--json"                the same as JSON
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import idle
import startup
from measure import HERE, Sample, child, median, output_of

SCRATCH = HERE.parent / "build" / "benchmarks"

CHAINS_RATIO_MIN = 1 / 6
IMPORT_RATIO_MAX = 1.6
RUN_SECONDS_MAX = 1.5
IDLE_SHARE_MAX = 0.01


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One measured figure. `limit` None: it is only told. `detail` is what it was made from."""

    name: str
    what: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    detail: dict[str, object] = field(default_factory=dict[str, object])

    @property
    def passed(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """For people."""
        verdict = "" if self.limit is None else "pass" if self.passed else "MISS"
        limit = "" if self.limit is None else f"{'at least' if self.at_least else 'at most'} {self.limit:.3g}"
        return f"  {self.what:<58} {f'{self.value:.3g} {self.unit}':>17}   {limit:<15} {verdict}"


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The floor and the chains by turns: floor, chains, floor, chains, ..., floor."""

    floor: list[Sample]
    chains: list[Sample]

    @property
    def ratios(self) -> list[float]:
        """Of each round, to the mean of the floor before it and the floor after it."""
        return [
            one.per_second / ((before.per_second + after.per_second) / 2)
            for one, before, after in zip(self.chains, self.floor, self.floor[1:], strict=False)
        ]

    def detail(self) -> dict[str, object]:
        """What the ratio was made from."""
        return {
            "ratios": [round(ratio, 4) for ratio in self.ratios],
            "floor_per_second": median([one.per_second for one in self.floor]),
            "floor_cpu_us": median([one.cpu_us for one in self.floor]),
            "tasks_per_second": median([one.per_second for one in self.chains]),
            "task_cpu_us": median([one.cpu_us for one in self.chains]),
        }


def _rounds(rounds: int, *, at_once: int, runs: int, floor_tasks: int) -> Rounds:
    # Not the system's temporary folder: that may be memory, where a sync costs nothing.
    SCRATCH.mkdir(parents=True, exist_ok=True)
    together = ("--at-once", str(at_once), "--folder", str(SCRATCH))
    floor = [child("floor.py", "--tasks", str(floor_tasks), *together)]
    chains: list[Sample] = []
    for _ in range(rounds):
        chains.append(child("chains.py", "--runs", str(runs), *together))
        floor.append(child("floor.py", "--tasks", str(floor_tasks), *together))
    return Rounds(floor=floor, chains=chains)


def chains(rounds: int) -> list[Bar]:
    """Chains of 10 `write` tasks, 100 runs at a time."""
    took = _rounds(rounds, at_once=100, runs=1_000, floor_tasks=20_000)
    return [
        Bar(
            name="chains",
            what="chains of 10 write tasks, 100 runs at a time",
            value=median(took.ratios),
            unit="of the floor",
            limit=CHAINS_RATIO_MIN,
            at_least=True,
            detail=took.detail(),
        )
    ]


def lone(rounds: int) -> list[Bar]:
    """One run at a time: what a task waits for, with nothing to share a sync with."""
    took = _rounds(rounds, at_once=1, runs=100, floor_tasks=1_000)
    return [
        Bar(
            name="lone",
            what="one run at a time: a task's time",
            value=1 / median(took.ratios),
            unit="x the floor",
            detail=took.detail(),
        )
    ]


def imports(rounds: int) -> list[Bar]:
    """`import orchestrator`, and what a node's author imports of it."""
    took = startup.import_ratios(2 * rounds + 1)
    return [
        Bar(
            name="import",
            what="import orchestrator",
            value=took["orchestrator_ratio"],
            unit="x pydantic",
            limit=IMPORT_RATIO_MAX,
            detail=dict(took),
        ),
        Bar(
            name="import_names",
            what="from orchestrator import BaseNode, Context, Route, node",
            value=took["names_ratio"],
            unit="x pydantic",
        ),
    ]


def run_once(rounds: int) -> list[Bar]:
    """`orchestrator run` of the example, from nothing."""
    taken = startup.run_seconds(rounds)
    return [
        Bar(
            name="run",
            what="orchestrator run examples/onboarding.json, cold",
            value=median(taken),
            unit="s",
            limit=RUN_SECONDS_MAX,
            detail={"seconds": [round(one, 3) for one in taken]},
        )
    ]


def idle_server(_rounds: int) -> list[Bar]:
    """A server with nothing to do."""
    if not idle.supported():
        print("  the idle server is measured on Linux only: skipped", file=sys.stderr)
        return []
    bars: list[Bar] = []
    for command, what in (("dev", "in one process"), ("serve", "with a worker process")):
        took = idle.measure(command, seconds=20.0)
        bars.append(
            Bar(
                name=f"idle_{command}",
                what=f"idle for 20 s: orchestrator {command}, {what}",
                value=took["core_share"],
                unit="of a core",
                limit=IDLE_SHARE_MAX,
                detail=dict(took),
            )
        )
    return bars


def memory(_rounds: int) -> list[Bar]:
    """What a waiting run holds."""
    if not idle.supported():
        print("  memory is measured on Linux only: skipped", file=sys.stderr)
        return []
    took: dict[str, float] = json.loads(output_of([sys.executable, str(HERE / "waiting.py")]))
    return [
        Bar(
            name="memory",
            what="a run that waits for a signal, of 2,000",
            value=took["bytes_per_run"] / 1024,
            unit="KiB",
            detail=dict(took),
        )
    ]


BARS: dict[str, Callable[[int], Sequence[Bar]]] = {
    "chains": chains,
    "lone": lone,
    "import": imports,
    "run": run_once,
    "idle": idle_server,
    "memory": memory,
}


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--only", choices=list(BARS), action="append", help="measure only this; may be repeated"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of everything that takes turns (default 5)"
    )
    args = parser.parse_args()
    machine = _machine()
    if not args.json:
        print(
            f"\n  Python {machine['python']}, {machine['cores']} cores, load {machine['load_before']}; "
            f"median of {args.rounds} rounds\n"
        )
    bars: list[Bar] = []
    for name in args.only or BARS:
        for bar in BARS[name](args.rounds):
            bars.append(bar)
            if not args.json:
                print(bar.line(), flush=True)
                if "task_cpu_us" in bar.detail:
                    print(
                        "      {tasks_per_second:,.0f} tasks/s at {task_cpu_us:.0f} us of CPU; the floor "
                        "{floor_per_second:,.0f}/s at {floor_cpu_us:.0f} us".format(**bar.detail)
                    )
    missed = [bar.name for bar in bars if not bar.passed]
    if args.json:
        told = [{**asdict(bar), "passed": bar.passed} for bar in bars]
        print(json.dumps({"machine": machine, "bars": told, "missed": missed}, indent=2))
    else:
        print(f"\n  {'missed: ' + ', '.join(missed) if missed else 'every bar is met'}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
