"""Encryption at rest: what the store is given, keys that change, keys that are missing."""

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.engine.attempts.worker import Worker
from orchestrator.engine.config import EngineConfig
from orchestrator.engine.engine import Engine
from orchestrator.engine.sealing import MARK, KeyRing, check_readable, sealed
from orchestrator.engine.service.facade import Service
from orchestrator.errors import EncryptionKeyMissing, StoreIncompatible, UsageError
from orchestrator.kernel.events import decode
from orchestrator.sdk.effect import Effect
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.registry import Registry
from orchestrator.stores.contract import Commit, RunIndex, Store
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SqliteStore

pytest.importorskip("cryptography")

FIRST, SECOND = base64.b64encode(b"1" * 32).decode(), "02" * 32
INDEX = RunIndex(workflow="w", version=1, status="failed", live=False, error="Oops: quotes the input")


def create(run_id: str = "run", event: bytes = b'{"plain":"text"}') -> Commit:
    return Commit(
        commit_id=f"c-{run_id}", run_id=run_id, expected=0, events=[event], summary=b'{"s":1}', index=INDEX
    )


def test_what_was_sealed_opens_and_nothing_of_it_shows() -> None:
    ring = KeyRing.parse(f"new:{FIRST}")
    data = ring.seal(b"a secret text", "run")
    assert data.startswith(MARK + b"\x03new")
    assert b"secret" not in data
    assert data != ring.seal(b"a secret text", "run")
    assert ring.open(data, "run") == b"a secret text"


def test_data_of_one_run_is_no_data_of_another() -> None:
    ring = KeyRing.parse(FIRST)
    data = ring.seal(b"text", "run")
    with pytest.raises(StoreIncompatible, match="changed or moved"):
        ring.open(data, "other")
    with pytest.raises(StoreIncompatible, match="changed or moved"):
        ring.open(data[:-1] + b"x", "run")


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    old = KeyRing.parse(f"2025:{FIRST}").seal(b"text", "run")
    ring = KeyRing.parse(f"2026:{SECOND}, 2025:{FIRST}")
    assert ring.current == "2026"
    assert ring.open(old, "run") == b"text"
    with pytest.raises(EncryptionKeyMissing, match="the key `2025`, and this process has only `2026`"):
        KeyRing.parse(f"2026:{SECOND}").open(old, "run")


def test_another_key_under_the_same_id_is_said_so() -> None:
    data = KeyRing.parse(f"k:{FIRST}").seal(b"text", "run")
    with pytest.raises(StoreIncompatible, match="key `k`: either another key has this id"):
        KeyRing.parse(f"k:{SECOND}").open(data, "run")


@pytest.mark.parametrize("text", ["", "short", f"a b:{FIRST}", f":{FIRST}", f"{FIRST},", "zz" * 32])
def test_a_key_that_is_none_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(UsageError, match=r"encryption key \d can't be used") as refused:
        KeyRing.parse(text)
    assert FIRST not in str(refused.value)


def test_two_keys_of_one_id_are_refused() -> None:
    with pytest.raises(UsageError, match="the same id"):
        KeyRing.parse(f"a:{FIRST},a:{SECOND}")


async def _opened() -> tuple[MemoryStore, Store]:
    inner = MemoryStore()
    await inner.open()
    return inner, sealed(inner, KeyRing.parse(FIRST))


async def test_what_was_written_before_there_was_a_key_is_read_as_it_stands() -> None:
    inner, store = await _opened()
    await inner.commit([create()])
    assert await store.read_journal("run") == [b'{"plain":"text"}']
    await store.commit([create("later")])
    assert (await inner.read_journal("later"))[0].startswith(MARK)
    await inner.close()


async def test_of_an_error_the_index_keeps_the_type() -> None:
    inner, store = await _opened()
    await store.commit([create()])
    row = await inner.get_run("run")
    assert row is not None
    assert row.index.error == "Oops"
    await inner.close()


async def test_without_the_key_the_start_names_it() -> None:
    inner, store = await _opened()
    await store.commit([create()])
    await check_readable(store, "default")
    with pytest.raises(EncryptionKeyMissing, match="and this process has no key"):
        await check_readable(inner, "default")
    await inner.close()


def files_of(folder: Path) -> dict[str, bytes]:
    """What lies in the folder: the file, its log, the index of that."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


async def test_nothing_of_what_people_gave_is_in_the_file_or_its_log(tmp_path: Path) -> None:
    """Input, outputs (inline and large), step results, errors, signals, variables, cached outputs, child runs."""
    inner = SqliteStore(f"sqlite:///{tmp_path / 'store.db'}")
    running = await run_everything(sealed(inner, KeyRing.parse(FIRST)), tmp_path)
    assert len(running["store.db-wal"]) > 10_000
    for files in (running, files_of(tmp_path)):
        for name, data in files.items():
            assert b"PLANTED" not in data, name
            assert base64.b64encode(b"PLANTED")[:8] not in data, name


async def test_the_same_day_without_a_key_leaves_it_in_both(tmp_path: Path) -> None:
    running = await run_everything(SqliteStore(f"sqlite:///{tmp_path / 'store.db'}"), tmp_path)
    assert running["store.db-wal"].count(b"PLANTED") > 10
    assert files_of(tmp_path)["store.db"].count(b"PLANTED") > 10


async def run_everything(store: Store, folder: Path) -> dict[str, bytes]:
    """A run whose every part holds the word, until it failed; what lay in the folder before the store was closed."""
    registry = Registry()

    class Look(BaseNode):
        effect = Effect.READ

        async def execute(self, params: Any, ctx: Any) -> Any:
            return "PLANTED cached"

    class Work(BaseNode):
        async def execute(self, params: Any, ctx: Any) -> Any:
            step = await ctx.step("step", lambda: "PLANTED step")
            ctx.set_variables(mine="PLANTED variable")
            signal = await ctx.wait_for_signal("go")
            child = await ctx.run_workflow("child", {"given": "PLANTED child"})
            return {"all": [step, signal, child], "large": "PLANTED large " * 20_000}

    class Fail(BaseNode):
        async def execute(self, params: Any, ctx: Any) -> Any:
            raise ValueError("PLANTED error")

    for known in (Look, Work, Fail):
        registry.register(known)
    await store.open()
    engine = Engine(store, registry, config=EngineConfig(snapshot_every=2, slow_poll_seconds=0.05))
    await engine.open()
    worker, service = Worker(engine), Service(engine)
    await worker.start()
    service.start()
    child = {"name": "child", "start_at": "a", "nodes": {"a": {"class": "Look", "cache": True}}}
    nodes = {
        "look": {"class": "Look", "cache": True, "next_node": "work"},
        "work": {"class": "Work", "next_node": "fail"},
        "fail": {"class": "Fail", "retry": {"max_attempts": 1}},
    }
    for document in (child, {"name": "w", "start_at": "look", "nodes": nodes}):
        await service.save_workflow(msgspec.json.encode(document))
    run, _ = await service.start_run("w", input={"given": "PLANTED input"})
    await service.signal(run["id"], "go", payload="PLANTED signal")
    async with asyncio.timeout(20):
        async for item in service.follow_run(run["id"]):
            assert item is not None
    shown = await service.get_run(run["id"])
    assert shown["error"]["message"] == "PLANTED error"
    kinds = Counter(decode(line).kind for line in await store.read_journal(run["id"]))
    assert {"step_recorded", "variables_set", "signal_received", "task_resumed"} <= kinds.keys()
    service.close()
    await worker.stop()
    await engine.close()
    running = await asyncio.to_thread(files_of, folder)
    await store.close()
    return running
