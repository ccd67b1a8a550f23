"""kill -9 at every named point of the engine: before, within and after each kind of commit, around each side effect,
around claims and renewals. Whatever was cut short, the runs come to the same end, and the ledger outside agrees."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash_lab import RUNS
from tests.faults.processes import REALTIME, tell

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1_800)]

A_POINT = 8 if REALTIME else 2
KILLS_A_LIFE = 2
"""No more: a task that lost two workers in a row runs alone next, and fails if that one dies too."""
KINDS = (
    "run_started",
    "task_scheduled",
    "task_started",
    "step_started",
    "step_recorded",
    "decision_made",
    "variables_set",
    "task_completed",
    "task_failed",
    "task_skipped",
    "task_suspended",
    "task_resumed",
    "signal_received",
    "run_succeeded",
    "no event",
)
POINTS = (
    *(f"{moment}: {kind}" for kind in KINDS for moment in ("asked", "written", "durable", "heard")),
    *(f"{side} the effect: {kind}" for kind in ("write", "irreversible") for side in ("before", "after")),
    *(f"{side} a {call}" for call in ("claim", "renewal") for side in ("before", "after")),
    "in the middle of a batch",
)

Live = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def live() -> Iterator[Live]:
    """One life of the engine, in the program that imports everything once."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.crash_lab"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as lab:
        assert lab.stdin is not None
        assert lab.stdout is not None
        orders, answers = lab.stdin, lab.stdout

        def one(order: dict[str, Any]) -> dict[str, Any]:
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return json.loads(answers.readline())

        yield one
        orders.close()


def test_kill_9_at_every_point(tmp_path: Path, live: Live, first_seed: int) -> None:
    draw = random.Random(first_seed)
    todo = [point for point in POINTS for _ in range(A_POINT)]
    draw.shuffle(todo)
    kills: Counter[str] = Counter()
    stores = 0
    while todo:
        stores += 1
        folder = tmp_path / str(stores)
        folder.mkdir()
        order = {"store": str(folder / "store.db"), "ledger": str(folder / "ledger.jsonl")}
        told: dict[str, Any] = {}
        for point in [todo.pop() for _ in range(min(KILLS_A_LIFE, len(todo)))]:
            if "over" in told:
                todo.append(point)  # the runs ended before; the next ones come by here
                continue
            order["point"] = point
            told = live({**order, "passages": draw.choice([1, 1, 2, 3, 5])})
            assert "broken" not in told, f"at {point}: {told}"
            kills[point] += "killed" in told
        if "over" not in told:
            told = live({**order, "point": "none", "passages": 0})
        assert "over" in told, f"after {order['point']}: {told}"
        check(told["over"], folder / "ledger.jsonl")
    moments = Counter(point.partition(":")[0] for point in kills.elements())
    tell(
        f"{kills.total()} kills at {len(kills)} of {len(POINTS)} points, {stores * RUNS} runs, no violation; "
        + ", ".join(f"{moment} {times}" for moment, times in sorted(moments.items()))
    )
    assert kills.total() > len(POINTS) * A_POINT // 2, kills


def check(runs: list[dict[str, Any]], ledger: Path) -> None:
    """The same end as without any kill; each effect under one key, those that must not repeat exactly once."""
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    for number, run in enumerate(runs):
        view, journal = run["view"], run["journal"]
        assert view["status"] == "succeeded", json.dumps(view["error"])
        assert view["output"] == {"sum": 3 * number, "paid": 7, "rounds": {"round": 3}}
        assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
        done = Counter(event["path"] for event in journal if event["kind"] == "task_completed")
        assert set(done.values()) == {1}, done
        mine = [line for line in lines if line["run"] == view["id"]]
        paid = Counter(line["key"] for line in mine if line["kind"] == "irreversible")
        assert set(paid.values()) == {1}, paid
        assert len(paid) == 2, paid
        keys: dict[tuple[str, str], set[str]] = {}
        for line in mine:
            keys.setdefault((line["path"], line["step"]), set()).add(line["key"])
        assert all(len(several) == 1 for several in keys.values()), keys
        effects = {("first", ""), ("mended", ""), ("flaky", ""), ("steps", "first"), ("steps", "second")}
        assert effects <= keys.keys(), keys
