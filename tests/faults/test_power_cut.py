"""The power fails under SQLite: what was acknowledged is there, the file opens, and every run goes on to its end."""

import asyncio
import contextlib
import json
import random
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.actor import restore
from orchestrator.engine.service.facade import Service
from orchestrator.kernel.events import Event, encode
from orchestrator.kernel.state import RunState
from orchestrator.sdk import BaseNode, Context, Effect, Outbox, Registry
from orchestrator.stores.sqlite import SqliteStore, database
from tests.faults.cut_disk import CutDisk
from tests.faults.processes import REALTIME, tell

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CUTS = 500 if REALTIME else 60
RUNS = 12
CHECKPOINT_PAGES = 60
"""So few that the log is copied into the file many times while the power fails."""


class Make(BaseNode):
    """Some bytes, now and then too many for the journal."""

    effect = Effect.WRITE

    async def execute(self, params: Any, ctx: Context) -> Any:
        number = int(ctx.input["n"])
        return {"n": number, "text": "x" * (100_000 if number % 4 == 0 else 3_000)}


class Steps(BaseNode):
    """A step, a sleep, a step."""

    async def execute(self, params: Any, ctx: Context) -> Any:
        first = await ctx.step("first", lambda: 1)
        await ctx.sleep(0.02)
        return first + await ctx.step("second", lambda: 2)


DOCUMENT = {
    "name": "cut",
    "start_at": "make",
    "nodes": {
        "make": {"class": "Make", "next_node": ["left", "right"]},
        "left": {"class": "Steps", "next_node": "join"},
        "right": {"class": "WaitNode", "params": {"for": "10ms"}, "next_node": "join"},
        "join": {"class": "SetNode", "params": {"values": {"sum": "{{ previous.left + nodes.make.n }}"}}},
    },
}


@dataclass
class Acknowledged:
    """What the engine was told to be durable."""

    lines: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    started: dict[str, int] = field(default_factory=dict[str, int])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, state: RunState, events: Sequence[Event]) -> None:
        with self.lock:
            self.lines.setdefault(state.run_id, []).extend(encode(event) for event in events)

    def start(self, run: str, number: int) -> None:
        with self.lock:
            self.started[run] = number

    def copy(self) -> "Acknowledged":
        """As it is now; called on the store's thread."""
        with self.lock:
            return Acknowledged({run: list(lines) for run, lines in self.lines.items()}, dict(self.started))


@contextlib.asynccontextmanager
async def serving(path: Path, acknowledged: Acknowledged) -> AsyncGenerator[tuple[Service, SqliteStore]]:
    registry = Registry()
    registry.load_entry_points()
    registry.register(Make)
    registry.register(Steps)
    store = SqliteStore(f"sqlite:///{path}")
    await store.open()
    engine = Engine(store, registry, config=EngineConfig(slow_poll_seconds=0.1))
    engine.observers.append(acknowledged.observe)
    await engine.open()
    worker = Worker(engine)
    await worker.start()
    service = Service(engine, outbox=Outbox(path.parent / "outbox"))
    service.start()
    try:
        yield service, store
    finally:
        service.close()
        await worker.stop(at_once=True)
        await engine.close()
        await store.close()


async def all_over(service: Service, runs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The runs, once they have ended."""
    async with asyncio.timeout(60):
        while True:
            found = {run: await service.get_run(run) for run in runs}
            if all(run["status"] == "succeeded" for run in found.values()):
                return found
            assert not [run for run in found.values() if run["status"] in ("failed", "cancelled")], found
            await asyncio.sleep(0.02)


async def keep_busy(service: Service, acknowledged: Acknowledged) -> None:
    """Run after run, several at once, until this is cancelled."""

    async def one_after_another(first: int) -> None:
        for number in range(first, 10_000, RUNS):
            view, _ = await service.start_run("cut", input={"n": number})
            acknowledged.start(view["id"], number)
            await all_over(service, [view["id"]])

    async with asyncio.TaskGroup() as group:
        for first in range(RUNS):
            group.create_task(one_after_another(first))


Cut = tuple[dict[str, bytes], Acknowledged]


async def cuts_of_a_busy_store(path: Path, disk: CutDisk, *, seed: int, cuts: int) -> list[Cut]:
    """The power fails `cuts` times, at moments that the seed draws; each time in another copy of the same machine."""
    draw, acknowledged = random.Random(seed), Acknowledged()
    taken: list[Cut] = []
    next_at = 0

    def moment() -> None:
        nonlocal next_at
        if disk.operations >= next_at and len(taken) < cuts:
            # First what was acknowledged, then the disk: what is acknowledged in between doesn't count.
            known = acknowledged.copy()
            taken.append((disk.cut(draw), known))
            next_at = disk.operations + draw.randrange(3, 200)

    async with serving(path, acknowledged) as (service, _):
        await service.save_workflow(json.dumps(DOCUMENT))
        next_at = disk.operations + draw.randrange(3, 200)
        disk.moment = moment
        busy = asyncio.create_task(keep_busy(service, acknowledged))
        async with asyncio.timeout(200):
            while len(taken) < cuts:
                await asyncio.sleep(0.02)
                assert not busy.done(), busy
        busy.cancel()
        await asyncio.wait({busy})
    return taken


def lay_out(files: dict[str, bytes], folder: Path) -> Path:
    """The files as the machine finds them when it has power again."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        if not name.endswith("-shm"):
            (folder / name).write_bytes(content)
    return folder / "store.db"


async def lost_after(cut: Cut, folder: Path, *, to_the_end: bool) -> list[str]:
    """What is missing or wrong after a cut."""
    files, known = cut
    path = lay_out(files, folder)
    connection: Any = apsw.Connection(str(path))
    verdict = connection.execute("PRAGMA integrity_check").get
    connection.close()
    if verdict != "ok":
        return [f"the file is damaged: {verdict}"]
    wrong: list[str] = []
    store = SqliteStore(f"sqlite:///{path}")
    await store.open()
    try:
        for run, lines in known.lines.items():
            kept = await store.read_journal(run, limit=100_000)
            if kept[: len(lines)] != lines:
                wrong.append(f"run {run}: {len(lines)} events were acknowledged, {len(kept)} are there")
            elif (loaded := await store.load(run)) is None or restore(loaded).seq != len(kept):
                wrong.append(f"run {run}: its journal doesn't fold")
        wrong.extend([f"run {run} was started" for run in known.started if await store.get_run(run) is None])
    finally:
        await store.close()
    if to_the_end and not wrong:
        async with serving(path, Acknowledged()) as (service, _):
            for run, view in (await all_over(service, list(known.started))).items():
                if view["output"] != {"sum": 3 + known.started[run]}:
                    wrong.append(f"run {run}: {view['output']}")
    return wrong


@pytest.fixture(autouse=True)
def many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [s for s in database._SETTINGS if "wal_autocheckpoint" not in s]
    assert len(settings) == len(database._SETTINGS) - 1
    settings.append(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    monkeypatch.setattr(database, "_SETTINGS", tuple(settings))


async def taken_on(disk: CutDisk, folder: Path, *, seed: int, cuts: int) -> list[Cut]:
    await asyncio.to_thread(folder.mkdir)
    disk.install()
    try:
        return await cuts_of_a_busy_store(folder / "store.db", disk, seed=seed, cuts=cuts)
    finally:
        disk.remove()


@pytest.mark.timeout(900)
async def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path, first_seed: int) -> None:
    disk = CutDisk()
    taken = await taken_on(disk, tmp_path / "busy", seed=first_seed, cuts=CUTS)
    events = 0
    for number, cut in enumerate(taken):
        wrong = await lost_after(cut, tmp_path / f"cut-{number}", to_the_end=number % 4 == 0)
        assert wrong == [], f"cut {number} of seed {first_seed}"
        events += sum(len(lines) for lines in cut[1].lines.values())
    in_use = sum(any(name.endswith("-wal") and content for name, content in cut[0].items()) for cut in taken)
    tell(
        f"{len(taken)} cuts in {disk.operations:,} operations and {disk.syncs:,} syncs, {in_use} with a log; "
        f"{events:,} acknowledged events looked for, none lost"
    )
    assert in_use > len(taken) // 2


async def test_a_disk_that_lies_is_noticed_by_this_test(tmp_path: Path, first_seed: int) -> None:
    """Not at every cut: what the disk kept by luck may be all that was acknowledged."""
    taken = await taken_on(CutDisk(lies=True), tmp_path / "busy", seed=first_seed, cuts=12)
    noticed = 0
    for number, cut in enumerate(taken):
        try:
            wrong = await lost_after(cut, tmp_path / f"cut-{number}", to_the_end=False)
        except Exception as unusable:  # noqa: BLE001 - whatever it is: the file can't even be opened
            wrong = [repr(unusable)]
        noticed += wrong != []
    assert noticed >= 4
