"""CPU nodes: real processes, on a real clock; what happens in them concerns one attempt and nothing else."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kernel.commands import CancelRun
from orchestrator.kernel.events import DecisionMade, TaskFailed, VariablesSet
from orchestrator.kernel.state import RunState
from orchestrator.kernel.status import RunStatus
from tests.unit.engine import cpu_nodes
from tests.unit.engine.lab import Lab

ONCE = {"max_attempts": 1}
SOON = {"max_attempts": 3, "initial": 0}


class RealLoop(asyncio.SelectorEventLoop):
    """Processes take real time."""

    def now_us(self) -> int:
        return round(time.time() * 1_000_000)


def in_processes(test: Callable[[Lab], Awaitable[None]]) -> None:
    """Run a test in a lab of the real time that knows the nodes of `cpu_nodes`, with one process for them."""
    loop: Any = RealLoop()

    async def main() -> None:
        lab = Lab(loop, cpu_processes=1)
        await lab.open()
        lab.registry.load_module("tests.unit.engine.cpu_nodes")
        await lab.worker.start()
        await test(lab)
        if lab.engine.worker is not None:
            await lab.worker.stop(at_once=True)
        await lab.engine.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


async def _misbehave(lab: Lab, how: str, *, file: Path | None = None, **fields: Any) -> RunState:
    params = {"how": how, "file": str(file or "")}
    node = {"class": "Misbehave", "params": params, "retry": ONCE, **fields}
    return await lab.run({"a": node, "b": {"class": "add_up", "params": {"numbers": [1, 2]}, "when": False}})


def test_a_cpu_node_runs_in_another_process_which_is_used_again() -> None:
    async def test(lab: Lab) -> None:
        first = {"class": "Crunch", "params": {"number": 21}, "next_node": "b"}
        nodes = {"a": first, "b": {"class": "Crunch"}}
        state = await lab.run(nodes, {"who": "ada"}, output={"a": "{{ nodes.a }}", "b": "{{ nodes.b }}"})
        assert state.error is None
        found = await lab.output(state)
        assert found["a"]["pid"] != os.getpid()
        assert found["a"]["pid"] == found["b"]["pid"]
        assert found["a"]["double"] == 42
        assert found["a"]["input"] == {"who": "ada"}
        assert found["a"]["key"] == f"{state.run_id}/a"
        assert found["b"]["arrivals"] == ["a"]
        assert found["a"]["stdin"] == ""
        journal = await lab.journal(state.run_id)
        assert [list(e.values) for e in journal if isinstance(e, VariablesSet)] == [["seen"], ["seen"]]
        assert [getattr(e, "name", "") for e in journal if e.kind == "step_recorded"][:3] == [
            "ctx.random",
            "ctx.uuid",
            "ctx.now",
        ]

    in_processes(test)


def test_what_it_returns_is_what_any_node_may_return() -> None:
    async def test(lab: Lab) -> None:
        nodes = {"a": {"class": "add_up", "params": {"numbers": [1, 2, 3]}}}
        assert await lab.output(await lab.run(nodes)) == 6
        routes = {
            "a": {"class": "Misbehave", "params": {"how": "route"}, "next_node": {"b": "c"}},
            "c": {"class": "Misbehave", "params": {"how": "stop"}},
        }
        state = await lab.run(routes)
        assert await lab.output(state) == "stopped"
        (decision,) = [e for e in await lab.journal(state.run_id) if isinstance(e, DecisionMade)]
        assert (decision.reason, decision.confidence) == ("because", 0.5)

    in_processes(test)


@pytest.mark.parametrize(
    ("how", "error_type", "message"),
    [
        ("segfault", "process_died", "SIGSEGV"),
        ("exit", "process_died", "exit code 7"),
        ("sys.exit", "SystemExit", "sys.exit(3)"),
        ("permanent", "permanent_failure", "never"),
        ("value", "ValueError", "no such value \\x00"),
        ("object", "output_not_storable", "no JSON form"),
        ("step", "usage", "ctx.step can't be used in a CPU node"),
    ],
)
def test_whatever_happens_in_it_fails_that_attempt_alone(how: str, error_type: str, message: str) -> None:
    async def test(lab: Lab) -> None:
        state = await _misbehave(lab, how)
        assert state.error is not None
        assert state.error.type == error_type
        assert message in state.error.message
        assert await lab.output(await lab.run({"a": {"class": "add_up", "params": {"numbers": [1, 2]}}})) == 3

    in_processes(test)


def test_a_crash_is_tried_again_in_a_new_process(tmp_path: Path) -> None:
    async def test(lab: Lab) -> None:
        state = await lab.run(
            {
                "a": {
                    "class": "Misbehave",
                    "params": {"how": "once", "file": str(tmp_path / "x")},
                    "retry": SOON,
                }
            }
        )
        assert await lab.output(state) == "the second time"
        failed = [e for e in await lab.journal(state.run_id) if isinstance(e, TaskFailed)]
        assert [e.error.type for e in failed] == ["process_died"]
        later = await lab.run({"a": {"class": "Misbehave", "params": {"how": "later"}, "retry": ONCE}})
        assert await lab.output(later) == "fine"

    in_processes(test)


def test_a_class_that_another_process_can_not_find_is_an_error_in_words() -> None:
    async def test(lab: Lab) -> None:
        lab.registry.register(cpu_nodes.hidden())
        state = await lab.run({"a": {"class": "Hidden"}})
        assert state.error is not None
        assert "another process can't find the class" in state.error.message

    in_processes(test)


def _written(file: Path) -> int:
    return int(file.read_text() or 0) if file.exists() else 0


async def _pid_in(file: Path) -> int:
    while not (pid := _written(file)):  # noqa: ASYNC110 -- another process writes it
        await asyncio.sleep(0.01)
    return pid


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_timeout_kills_the_process_for_real(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    async def test(lab: Lab) -> None:
        state = await _misbehave(lab, "hang", file=file, timeout=3)
        assert state.error is not None
        assert state.error.type == "timeout"
        assert not _alive(await _pid_in(file))
        assert await lab.output(await lab.run({"a": {"class": "add_up", "params": {"numbers": [4]}}})) == 4

    in_processes(test)


def test_a_cancel_kills_the_process_for_real(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    async def test(lab: Lab) -> None:
        node = {"class": "Misbehave", "params": {"how": "hang", "file": str(file)}}
        await lab.save("w", {"a": node})
        run_id = await lab.start("w")
        pid = await _pid_in(file)
        await lab.engine.command(run_id, CancelRun())
        assert (await lab.end(run_id)).status is RunStatus.CANCELLED
        assert not _alive(pid)

    in_processes(test)


def test_the_end_of_the_worker_ends_its_processes(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    pids: list[int] = []

    async def test(lab: Lab) -> None:
        node = {"class": "Misbehave", "params": {"how": "hang", "file": str(file)}}
        await lab.save("w", {"a": node})
        await lab.start("w")
        pids.append(await _pid_in(file))
        await lab.worker.stop(at_once=True)

    in_processes(test)
    assert not any(map(_alive, pids))
