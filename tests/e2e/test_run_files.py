"""A run as a file: written by one store, read by another, with its whole past; and files that nobody should trust."""

import asyncio
import gzip
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import models
from orchestrator.engine.service.facade import Service
from orchestrator.engine.travel.runfile import Limits
from orchestrator.errors import Conflict, InvalidRunFile
from orchestrator.stores.contract import RunFilter
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SqliteStore
from tests.e2e.test_forks import CLASSES, did, events_of
from tests.e2e.test_service import SECRET, document, ran, serving, until_over, until_status

LOOP = {
    "big": {"class": "Large", "next_node": "work"},
    "work": {"class": "Book", "next_node": "more"},
    "more": {"class": "Again", "next_node": {"again": "work", "done": "end"}},
    "end": {"class": "Look"},
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Service]:
    store = MemoryStore()
    await store.open()
    did.clear()
    async with serving(store, tmp_path / "here") as service:
        for cls in CLASSES:
            service.engine.registry.register(cls)
        yield service
    await store.close()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Service]:
    store = SqliteStore(f"sqlite:///{tmp_path}/there.db")
    await store.open()
    async with serving(store, tmp_path / "there") as service:
        for cls in CLASSES:
            service.engine.registry.register(cls)
        yield service
    await store.close()


async def exported(service: Service, run: str) -> bytes:
    return b"".join([piece async for piece in service.export_run(run)])


async def imported(service: Service, data: bytes, **limits: int) -> dict[str, Any]:
    return await service.import_run(io.BytesIO(data), limits=Limits(**limits))


def lines_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(data).splitlines()]


def packed(lines: list[dict[str, Any]], *, sealed: bool = True) -> bytes:
    """A file of these lines; with a hash that fits, as somebody with bad intentions would make it."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines if "end" not in line)
    if sealed:
        end = {"end": {"lines": len(lines) - 1, "sha256": hashlib.sha256(body).hexdigest()}}
        body += json.dumps(end).encode() + b"\n"
    return gzip.compress(body)


async def test_a_run_opens_elsewhere_with_its_whole_past(here: Service, there: Service) -> None:
    run = await ran(here, LOOP, input={"n": 1}, labels={"team": "growth"})
    data = await exported(here, run["id"])
    assert (await ran(there, {"a": {"class": "Echo"}}))["version"] == 1  # another workflow of the same name
    answer = await imported(there, data)
    models.ImportAnswer.model_validate(answer)
    copy = answer["run"]
    assert copy["id"] != run["id"]
    assert copy["imported"]["run"] == run["id"]
    same = ("status", "input", "output", "labels", "created_at", "finished_at", "seq", "tasks", "duration_us")
    assert {name: copy[name] for name in same} == {name: run[name] for name in same}
    assert copy["workflow"].startswith("flow (imported ")
    assert (await there.get_workflow("flow"))["version"] == 1
    ours, theirs = await events_of(here, run["id"]), await events_of(there, copy["id"])
    changed = ("run_id", "workflow", "version", "request", "imported")
    assert [{k: v for k, v in e.items() if k not in changed} for e in theirs] == [
        {k: v for k, v in e.items() if k not in changed} for e in ours
    ]
    for seq in sorted({event["group"] - 1 for event in ours[1:] if event["group"] > 1} | {run["seq"]}):
        assert await there.state_at(copy["id"], seq) == await here.state_at(run["id"], seq)
    for task in await here.list_tasks(run["id"]):
        mine, other = [await s.get_task(r, task["path"]) for s, r in ((here, run["id"]), (there, copy["id"]))]
        assert {**mine, "logs": []} == {**other, "logs": []}
    assert (await there.get_task(copy["id"], "big"))["output"] == "x" * 100_000


async def test_a_fork_of_an_imported_run_goes_on_elsewhere(here: Service, there: Service) -> None:
    run = await ran(here, LOOP)
    copy = (await imported(there, await exported(here, run["id"])))["run"]
    did.clear()
    fork = await there.fork(copy["id"], patch={"decisions": {"more@2": "done"}})
    fork = await until_over(there, fork["id"])
    assert (fork["status"], fork["imported"], fork["output"]) == ("succeeded", None, {"saw": 2})
    assert did == []
    assert fork["forked_from"]["run"] == copy["id"]


async def test_a_fork_takes_its_parents_along(here: Service, there: Service) -> None:
    run = await ran(here, LOOP)
    fork = await here.fork(run["id"], patch={"outputs": {"big": "y" * 90_000}})
    fork = await until_over(here, fork["id"])
    again = await here.fork(fork["id"], patch={"decisions": {"more@2": "done"}})
    again = await until_over(here, again["id"])
    answer = await imported(there, await exported(here, again["id"]))
    assert [one["was"] for one in answer["runs"]] == [run["id"], fork["id"], again["id"]]
    copy = answer["run"]
    assert copy["forked_from"] == {"run": answer["runs"][1]["id"], "seq": again["forked_from"]["seq"]}
    assert [t["path"] for t in await there.list_tasks(copy["id"])] == [
        t["path"] for t in await here.list_tasks(again["id"])
    ]
    assert (await there.get_task(copy["id"], "big"))["output"] == "y" * 90_000
    parent = await there.get_run(answer["runs"][0]["id"])
    assert (parent["seq"], parent["waiting_for"]["wakers"][0]["kind"]) == (
        fork["forked_from"]["seq"],
        "operator",
    )


async def test_an_imported_run_that_was_live_stays_as_it_is_until_it_is_forked(
    here: Service, there: Service
) -> None:
    await here.save_workflow(document({"a": {"class": "Ask", "next_node": "b"}, "b": {"class": "Look"}}))
    started, _ = await here.start_run("flow")
    run = await until_status(here, started["id"], "waiting")
    copy = (await imported(there, await exported(here, run["id"])))["run"]
    assert copy["status"] == "waiting"
    assert "stays as it is" in copy["waiting_for"]["sentence"]
    assert "stays as it is" in (await there.explain(copy["id"]))["sentence"]
    for change in (
        lambda: there.signal(copy["id"], "go", 1),
        lambda: there.cancel(copy["id"]),
        lambda: there.pause(copy["id"]),
        lambda: there.retry(copy["id"]),
        lambda: there.resolve(copy["id"], "a", "skip"),
    ):
        with pytest.raises(Conflict, match="was read from a file and stays as it is; fork it") as refused:
            await change()
        assert refused.value.reason == "run_imported"
    assert await there.engine.store.queue_rows(copy["id"]) == []
    assert (await there.list_runs(RunFilter(live=True)))["items"] == []
    async with asyncio.timeout(5):
        assert [item.event async for item in there.follow_run(copy["id"])][-1] == "end"
    assert (await there.get_run(copy["id"]))["seq"] == run["seq"]
    fork = await there.fork(copy["id"], seq=copy["seq"])
    await until_status(there, fork["id"], "waiting")
    await there.signal(fork["id"], "go", "gone")
    assert (await until_over(there, fork["id"]))["output"] == {"saw": ["ready", "gone"]}
    await here.cancel(run["id"])


async def test_the_same_file_again_is_the_same_run_also_after_half_an_import(
    here: Service, there: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ran(here, LOOP)
    data = await exported(here, run["id"])
    monkeypatch.setattr("orchestrator.engine.travel.importing.EVENTS_A_COMMIT", 5)
    commit, left = there.engine.store.commit, [2]

    async def failing(batch: Any) -> Any:
        if left[0] == 0:
            raise ConnectionError("the power is gone")
        left[0] -= 1
        return await commit(batch)

    with monkeypatch.context() as patch:
        patch.setattr(there.engine.store, "commit", failing)
        with pytest.raises(ConnectionError):
            await imported(there, data)
    (half,) = (await there.list_runs(RunFilter()))["items"]
    assert (half["seq"], half["imported"]["seq"]) == (10, run["seq"])
    monkeypatch.setattr("orchestrator.engine.travel.importing.EVENTS_A_COMMIT", 7)
    first = await imported(there, data)
    assert (first["created"], first["run"]["id"], first["run"]["seq"]) == (True, half["id"], run["seq"])
    second = await imported(there, data)
    assert (second["created"], second["run"]) == (False, first["run"])
    assert (await there.list_runs(RunFilter()))["items"][0]["id"] == first["run"]["id"]
    back = await imported(here, data)
    assert (back["run"]["workflow"], back["run"]["version"]) == ("flow", 1)
    assert back["run"]["id"] != run["id"]
    assert (await here.get_run(run["id"])) == run


async def test_a_secret_is_hidden_although_it_was_recorded_before_it_was_one(
    here: Service, there: Service
) -> None:
    redactor, here.engine.codec._redactor = here.engine.codec._redactor, _Blind()  # type: ignore[assignment]
    run = await ran(
        here, {"a": {"class": "Echo", "next_node": "b"}, "b": {"class": "Look"}}, input=SECRET * 9_000
    )
    small = await ran(here, {"a": {"class": "Echo"}}, input=SECRET)
    here.engine.codec._redactor = redactor
    for one in (run, small):
        assert SECRET in json.dumps((await here.get_run(one["id"]))["input"])
        data = await exported(here, one["id"])
        assert SECRET.encode() not in gzip.decompress(data)
        copy = (await imported(there, data))["run"]
        assert set(copy["input"].split("[secret TOKEN]")) == {""}


class _Blind:
    def touches(self, data: bytes) -> bool:
        return False


# --- files that nobody should trust -------------------------------------------------------------------------------


def edited(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[list[dict[str, Any]]], bytes]:
    def make(lines: list[dict[str, Any]]) -> bytes:
        change(lines)
        return packed(lines)

    return make


def event(lines: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(line["event"] for line in lines if line.get("event", {}).get("kind") == kind)


def deep(lines: list[dict[str, Any]]) -> bytes:
    body = packed(lines)
    text = gzip.decompress(body).replace(b'"attempt": 1', b'"x": ' + b"[" * 100_000 + b"]" * 100_000, 1)
    return gzip.compress(text)


def starts(**fields: Any) -> Callable[[list[dict[str, Any]]], bytes]:
    return edited(lambda lines: event(lines, "run_started").update(fields))


def completes(**fields: Any) -> Callable[[list[dict[str, Any]]], bytes]:
    return edited(lambda lines: event(lines, "task_completed").update(fields))


def blob(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in lines if "blob" in line)


def record(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return lines[1]["definition"]["record"]


def document_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return record(lines)["document"]


def damaged(lines: list[dict[str, Any]]) -> bytes:
    return packed(lines)[:200] + b"\0" * 50 + packed(lines)[250:]


def other_path(lines: list[dict[str, Any]]) -> bytes:
    return gzip.compress(gzip.decompress(packed(lines)).replace(b'"work@2"', b'"work@7"'))


BAD: dict[str, tuple[str, Callable[[list[dict[str, Any]]], bytes]]] = {
    "nothing": ("empty", lambda lines: b""),
    "noise": ("first line isn't ours", lambda lines: b"\xff\x00 no run\n"),
    "another program's": ("first line isn't ours", lambda lines: b'{"hello": 1}\n'),
    "cut in the packing": ("cut off", lambda lines: packed(lines)[:-20]),
    "damaged packing": ("damaged|cut off|can't be read", damaged),
    "without its end": ("cut off", lambda lines: packed(lines, sealed=False)),
    "changed": ("changed or damaged", other_path),
    "longer": ("follows on the end", lambda lines: packed(lines) + gzip.compress(b"{}\n")),
    "longer inside": ("follows on the end", lambda lines: gzip.compress(gzip.decompress(packed(lines)) + b"{}\n")),
    "two things in a line": ("must say one thing", edited(lambda lines: lines[1].update(lines[2]))),
    "a newer format": ("has format 9", edited(lambda lines: lines[0]["orchestrator_run"].update(format=9))),
    "newer rules": ("import it with a newer release", starts(rules=99)),
    "an unknown event": ("can't be", completes(kind="task_exploded")),
    "a gap": ("can't be|nothing scheduled", edited(lambda lines: lines.pop(-4))),
    "too few events": ("the file says", edited(lambda lines: lines.pop(-2))),
    "an illegal move": ("nothing scheduled|can't be", completes(path="nobody")),
    "another node": ("another node", completes(node="end")),
    "another run": ("doesn't begin with its start", starts(run_id="run_victim")),
    "another workflow": ("another version", starts(workflow="victim")),
    "a NUL": ("no store can keep", starts(labels={"a": "b\0c"})),
    "a lone surrogate": ("can't be", starts(labels={"a": "\ud800"})),
    "33 labels": ("can't be", starts(labels={f"l{i}": "" for i in range(33)})),
    "a time": ("can't be", completes(at="yesterday")),
    "a huge number": ("out of range", completes(attempt=2**62)),
    "a blob's content": ("content that its id names", edited(lambda lines: blob(lines)["blob"].update(text='"evil"'))),
    "a blob that isn't there": ("doesn't hold", edited(lambda lines: lines.remove(blob(lines)))),
    "no version": ("isn't in the file", edited(lambda lines: lines.pop(1))),
    "a faulty document": ("has faults|run file", edited(lambda lines: document_of(lines).update(start_at="x"))),
    "no document": ("run file", edited(lambda lines: record(lines).update(document={"name": 3}))),
    "a fork of nothing": ("its parent isn't in the file", starts(forked_from={"run": "run_victim", "seq": 3})),
    "nested too deep": ("can't be|isn't JSON", deep),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_file_is_refused_in_words_and_leaves_nothing(
    name: str, here: Service, there: Service
) -> None:
    run = await ran(here, LOOP)
    words, make = BAD[name]
    data = make(lines_of(await exported(here, run["id"])))
    with pytest.raises(InvalidRunFile, match=words):
        await imported(there, data)
    assert (await there.list_runs(RunFilter()))["items"] == []
    assert (await there.list_workflows())["items"] == []


async def test_a_file_keeps_within_its_limits_whatever_it_unpacks_to(here: Service, there: Service) -> None:
    run = await ran(here, LOOP)
    data = await exported(here, run["id"])
    for words, limits in (
        ("larger than the limit of 100 bytes", {"file_bytes": 100}),
        ("unpacks to more than the limit of 5,000", {"unpacked_bytes": 5_000}),
        ("longer than the limit of 1,000", {"line_bytes": 1_000}),
        ("more than 7 events", {"events": 7}),
        ("more than 0 runs", {"runs": 0}),
    ):
        with pytest.raises(InvalidRunFile, match=words):
            await imported(there, data, **limits)
    bomb = gzip.compress(b" " * 100_000_000)
    assert len(bomb) < 200_000
    with pytest.raises(InvalidRunFile, match="longer than the limit of 1,000,000 bytes"):
        await imported(there, bomb, line_bytes=1_000_000)
    with pytest.raises(InvalidRunFile, match="unpacks to more than"):
        await imported(there, gzip.compress(b"\n" * 50_000_000), unpacked_bytes=0)
