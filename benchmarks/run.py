"""Every bar of speed: what was measured, the limit, and whether it was met. Ends with 1 if one was missed.

Machines are shared and noisy, so what can be a ratio is one: both sides take turns in processes of their own, each
round gives one ratio, and the median counts.

    make bench                              all of it, about ten minutes
    make bench ARGS="--only chains"         some bars; `--help` lists the names
    make bench ARGS="--json"                the same as JSON
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import idle
import startup
from measure import HERE, Sample, child, median, output_of
from servers import REDIS_KINDS, has_postgres

SCRATCH = HERE.parent / "build" / "benchmarks"

CHAINS_RATIO_MIN = 1 / 4
LONE_RATIO_MAX = 2.0
PURE_RATIO_MIN = 3.0
STEP_RATIO_MAX = 1.0
WIDE_RATIO_MAX = 3.0
WIDER_RATIO_MAX = 12.0
LOOP_RATIO_MAX = 1.2
EACH_RATIO_MAX = 1.5
EACH_MIB_MAX = 64.0
LIST_MILLISECONDS_MAX = 50.0
WAITING_MIB_MAX = 20.0
IMPORT_RATIO_MAX = 1.6
RUN_SECONDS_MAX = 1.0
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


def _rounds(
    rounds: int, *, at_once: int, runs: int, floor_tasks: int, floor_script: str = "floor.py", store: str = ""
) -> Rounds:
    # Not the system's temporary folder: that may be memory, where a sync costs nothing.
    SCRATCH.mkdir(parents=True, exist_ok=True)
    together = ("--at-once", str(at_once), "--folder", str(SCRATCH), *(("--store", store) if store else ()))
    floor = [child(floor_script, "--tasks", str(floor_tasks), *together)]
    chains: list[Sample] = []
    for _ in range(rounds):
        chains.append(child("chains.py", "--runs", str(runs), *together))
        floor.append(child(floor_script, "--tasks", str(floor_tasks), *together))
    return Rounds(floor=floor, chains=chains)


def _chains(rounds: int, *, name: str, at_once: int, runs: int) -> Bar:
    took = _rounds(rounds, at_once=at_once, runs=runs, floor_tasks=20_000)
    return Bar(
        name=name,
        what=f"chains of 10 write tasks, {at_once:,} runs at a time",
        value=median(took.ratios),
        unit="of the floor",
        limit=CHAINS_RATIO_MIN,
        at_least=True,
        detail=took.detail(),
    )


def chains_postgres(rounds: int) -> list[Bar]:
    """The same on a PostgreSQL server of its own for each round, which waits for the disk; so does its floor."""
    if not has_postgres():
        print("  PostgreSQL isn't installed (Debian: postgresql): its chains are skipped", file=sys.stderr)
        return []
    took = _rounds(rounds, at_once=100, runs=1_000, floor_tasks=20_000, store="postgres")
    return [
        Bar(
            name="chains_postgres",
            what="chains of 10 write tasks on PostgreSQL, 100 at a time",
            value=median(took.ratios),
            unit="of the floor",
            limit=CHAINS_RATIO_MIN,
            at_least=True,
            detail=took.detail(),
        )
    ]


def chains(rounds: int) -> list[Bar]:
    """Chains of 10 `write` tasks, 100 runs at a time."""
    return [_chains(rounds, name="chains", at_once=100, runs=1_000)]


def redis(rounds: int) -> list[Bar]:
    """The same on Redis, each against a floor that group-commits the same rows to the same kind of server."""
    bars: list[Bar] = []
    for store, sync in REDIS_KINDS.items():
        took = _rounds(
            rounds, at_once=100, runs=1_000, floor_tasks=40_000, floor_script="floor_redis.py", store=store
        )
        bars.append(
            Bar(
                name="redis",
                what=f"chains of 10 write tasks on Redis ({sync}), 100 runs at a time",
                value=median(took.ratios),
                unit="of the floor",
                limit=CHAINS_RATIO_MIN,
                at_least=True,
                detail=took.detail(),
            )
        )
    return bars


def chains_many(rounds: int) -> list[Bar]:
    """Chains of 10 `write` tasks, 1,000 runs at a time."""
    return [_chains(rounds, name="chains_many", at_once=1_000, runs=2_000)]


def lone(rounds: int) -> list[Bar]:
    """One run at a time: what a task waits for, with nothing to share a sync with."""
    took = _rounds(rounds, at_once=1, runs=100, floor_tasks=1_000)
    return [
        Bar(
            name="lone",
            what="one run at a time: a task's time",
            value=1 / median(took.ratios),
            unit="x the floor",
            limit=LONE_RATIO_MAX,
            detail=took.detail(),
        )
    ]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Two measurements by turns, each pair one ratio of their rates."""

    ours: list[Sample]
    beside: list[Sample]

    @property
    def faster(self) -> float:
        """How many times the tasks per second of what stands beside it."""
        return median(
            [one.per_second / other.per_second for one, other in zip(self.ours, self.beside, strict=True)]
        )

    def detail(self) -> dict[str, object]:
        """What the ratio was made from."""
        return {
            "per_second": median([one.per_second for one in self.ours]),
            "cpu_us": median([one.cpu_us for one in self.ours]),
            "beside_per_second": median([one.per_second for one in self.beside]),
            "beside_cpu_us": median([one.cpu_us for one in self.beside]),
        }


def _pairs(rounds: int, ours: Sequence[str], beside: Sequence[str]) -> Pairs:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    both: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(rounds):
        for turn in (0, 1) if number % 2 == 0 else (1, 0):
            both[turn].append(child(*(ours, beside)[turn], "--folder", str(SCRATCH)))
    return Pairs(ours=both[0], beside=both[1])


def pure(rounds: int) -> list[Bar]:
    """Chains of pure tasks, one at a time, beside chains of `write` tasks."""
    one = ("--runs", "100", "--at-once", "1")
    took = _pairs(rounds, ("chains.py", "--of", "pure", *one), ("chains.py", *one))
    return [
        Bar(
            name="pure",
            what="chains of pure tasks, one run at a time: their rate",
            value=took.faster,
            unit="x write",
            limit=PURE_RATIO_MIN,
            at_least=True,
            detail=took.detail(),
        )
    ]


def steps(rounds: int) -> list[Bar]:
    """A task of ten steps beside a chain of ten tasks."""
    took = _pairs(rounds, ("chains.py", "--of", "steps"), ("chains.py",))
    return [
        Bar(
            name="steps",
            what="a step's time, 100 runs at a time",
            value=1 / took.faster,
            unit="x a task",
            limit=STEP_RATIO_MAX,
            detail=took.detail(),
        )
    ]


def wide(rounds: int) -> list[Bar]:
    """Parallel tasks and a join in one run, beside chains; ten times as many beside those."""
    wide = ("wide.py", "--tasks", "1000")
    near = _pairs(rounds, wide, ("chains.py", "--runs", "100"))
    far = _pairs(max(1, rounds // 2), ("wide.py", "--tasks", "10000"), wide)
    return [
        Bar(
            name="wide",
            what="1,000 parallel tasks and a join in one run",
            value=1 / near.faster,
            unit="x in chains",
            limit=WIDE_RATIO_MAX,
            detail=near.detail(),
        ),
        Bar(
            name="wider",
            what="as many parallel tasks as a document has (9,997), of 1,000",
            value=median(
                [one.seconds / other.seconds for one, other in zip(far.ours, far.beside, strict=True)]
            ),
            unit="x the time",
            limit=WIDER_RATIO_MAX,
            detail=far.detail(),
        ),
    ]


def loop(rounds: int) -> list[Bar]:
    """A loop of 10,000 tasks: the last 100 beside the first."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    took: list[dict[str, float]] = [
        json.loads(output_of([sys.executable, str(HERE / "loop.py"), "--folder", str(SCRATCH)]))
        for _ in range(max(1, rounds // 2))
    ]
    return [
        Bar(
            name="loop",
            what="a loop of 10,000 tasks: CPU of the last 100",
            value=median([one["last_us"] / one["first_us"] for one in took]),
            unit="x the first",
            limit=LOOP_RATIO_MAX,
            detail={"rounds": took},
        )
    ]


def each(_rounds: int) -> list[Bar]:
    """A `for_each` of 100,000 items: the last hundred beside the first, and what it holds at its end."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    took: dict[str, float] = json.loads(
        output_of([sys.executable, str(HERE / "each.py"), "--folder", str(SCRATCH)])
    )
    return [
        Bar(
            name="each",
            what="for_each of 100,000 items: CPU of the last 100",
            value=took["last_us"] / took["first_us"],
            unit="x the first",
            limit=EACH_RATIO_MAX,
            detail=dict(took),
        ),
        Bar(
            name="each_memory",
            what="for_each of 100,000 items: memory above the first 1,000",
            value=took["grown_mib"],
            unit="MiB",
            limit=EACH_MIB_MAX,
            detail=dict(took),
        ),
    ]


def lists(_rounds: int) -> list[Bar]:
    """Lists and searches over 100,000 finished runs."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    took: dict[str, Any] = json.loads(
        output_of([sys.executable, str(HERE / "lists.py"), "--folder", str(SCRATCH)])
    )
    return [
        Bar(
            name="lists",
            what=f"lists of 100,000 runs, the slowest: {took['worst']}",
            value=took["milliseconds"],
            unit="ms",
            limit=LIST_MILLISECONDS_MAX,
            detail=took,
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
    """What waiting runs hold."""
    if not idle.supported():
        print("  memory is measured on Linux only: skipped", file=sys.stderr)
        return []
    took: dict[str, float] = json.loads(output_of([sys.executable, str(HERE / "waiting.py")]))
    return [
        Bar(
            name="memory",
            what="10,000 runs that wait for a signal",
            value=took["mib"],
            unit="MiB",
            limit=WAITING_MIB_MAX,
            detail=dict(took),
        )
    ]


BARS: dict[str, Callable[[int], Sequence[Bar]]] = {
    "chains": chains,
    "chains_many": chains_many,
    "redis": redis,
    "chains_postgres": chains_postgres,
    "lone": lone,
    "pure": pure,
    "steps": steps,
    "wide": wide,
    "loop": loop,
    "each": each,
    "lists": lists,
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
