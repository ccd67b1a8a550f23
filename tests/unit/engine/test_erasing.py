"""Erasing with the whole engine on virtual time."""

from typing import Any

import msgspec
import pytest

from orchestrator.engine.runs.actor import restore
from orchestrator.engine.service.facade import Service
from orchestrator.errors import Conflict
from orchestrator.kernel.events import decode
from orchestrator.kernel.state import encode_state
from orchestrator.model.declarations import Effect
from tests.unit.engine.lab import Lab, in_lab

PLANTED = b"PLANTED"


def _classes(lab: Lab) -> None:
    async def look(params: Any, ctx: Any) -> Any:
        return "PLANTED looked"

    async def work(params: Any, ctx: Any) -> Any:
        ctx.set_variables(mine="PLANTED variable")
        await ctx.step("step", lambda: "PLANTED step")
        return "PLANTED large " * 20_000

    async def fail(params: Any, ctx: Any) -> Any:
        raise ValueError("PLANTED error")

    lab.node("Look", look, effect=Effect.READ)
    lab.node("Work", work)
    lab.node("Fail", fail)


NODES: dict[str, Any] = {
    "look": {"class": "Look", "cache": True, "next_node": "each"},
    "each": {"class": "Work", "for_each": [1, 2, "PLANTED"], "next_node": "fail"},
    "fail": {"class": "Fail", "retry": {"max_attempts": 1}},
}


async def _failed_run(lab: Lab) -> tuple[Service, str]:
    _classes(lab)
    state = await lab.run(NODES, input={"given": "PLANTED input"})
    service = Service(lab.engine)
    service.start()
    return service, state.run_id


def _everything(lab: Lab, run_id: str) -> bytes:
    """All that the store has of a run."""
    run = lab.store._runs[run_id]
    parts = [*run.events, run.snapshot or b"", run.summary, msgspec.json.encode(run.index)]
    parts += [blob.data for blob in run.blobs.values()]
    parts += [value for value, _ in lab.store._cached.values()]
    return b"\n".join(parts)


def test_everything_that_people_gave_is_gone_and_the_shape_is_there() -> None:
    async def test(lab: Lab) -> None:
        service, run_id = await _failed_run(lab)
        before = await service.get_run(run_id)
        tasks = await service.list_tasks(run_id)
        assert PLANTED in _everything(lab, run_id)

        after = await service.erase(run_id, reason="asked to")
        assert PLANTED not in _everything(lab, run_id)
        assert lab.store._runs[run_id].blobs == {}
        assert lab.store._cached == {}
        assert after["erased"]["complete"] is True
        assert (after["status"], after["tasks"], after["finished_at"]) == (
            before["status"],
            before["tasks"],
            before["finished_at"],
        )
        assert after["input"]["$erased"]["bytes"] == len(b'{"given":"PLANTED input"}')
        assert "PLANTED" not in str(after)
        again = await service.list_tasks(run_id)
        assert [(t["path"], t["status"]) for t in again] == [(t["path"], t["status"]) for t in tasks]
        detail = await service.get_task(run_id, "each")
        assert [set(one) for one in detail["output"]] == [{"$erased"}] * 3
        loaded = await lab.store.load(run_id)
        assert loaded is not None
        assert loaded.snapshot_seq == loaded.seq
        whole = [decode(line) for line in await lab.store.read_journal(run_id)]
        assert [event.seq for event in whole] == list(range(1, loaded.seq + 1))
        bare = msgspec.structs.replace(loaded, snapshot=None, events=[*await lab.store.read_journal(run_id)])
        assert encode_state(restore(bare)) == encode_state(restore(loaded)), "the fold isn't the snapshot"

    in_lab(test)


def test_twice_is_once_and_a_half_erased_run_is_finished() -> None:
    async def test(lab: Lab) -> None:
        service, run_id = await _failed_run(lab)
        rewrite, calls = lab.store.rewrite, [0]

        async def dies(*args: Any, **kwargs: Any) -> bool:
            calls[0] += 1
            if calls[0] == 2:
                raise ConnectionError("killed")
            return await rewrite(*args, **kwargs)

        lab.store.rewrite = dies
        with pytest.raises(ConnectionError):
            await service.erase(run_id)
        half = await service.get_run(run_id)
        assert half["erased"]["complete"] is False
        first = (await service.erase(run_id))["erased"]
        assert first["complete"] is True
        journal = await lab.store.read_journal(run_id)
        assert (await service.erase(run_id, reason="again"))["erased"] == first
        assert await lab.store.read_journal(run_id) == journal

    in_lab(test)


def test_a_run_with_forks_is_refused_until_they_are_erased() -> None:
    async def test(lab: Lab) -> None:
        service, run_id = await _failed_run(lab)
        fork = await service.fork(run_id, seq=(await service.get_run(run_id))["seq"])
        await lab.end(fork["id"])
        with pytest.raises(Conflict, match=f"{fork['id']} forked from run {run_id}") as refused:
            await service.erase(run_id)
        assert refused.value.reason == "run_has_forks"
        await service.erase(fork["id"])
        await service.erase(run_id)
        for one in (run_id, fork["id"]):
            assert PLANTED not in _everything(lab, one)
            assert await service.list_tasks(one)

    in_lab(test)


def test_an_erased_run_is_neither_forked_nor_retried() -> None:
    async def test(lab: Lab) -> None:
        service, run_id = await _failed_run(lab)
        await service.erase(run_id)
        for going_on in (service.fork(run_id, seq=1), service.fork(run_id), service.retry(run_id)):
            with pytest.raises(Conflict, match="nothing goes on from it") as refused:
                await going_on
            assert refused.value.reason == "run_erased"

    in_lab(test)


def test_a_live_run_is_not_erased() -> None:
    async def test(lab: Lab) -> None:
        async def wait(params: Any, ctx: Any) -> Any:
            return await ctx.wait_for_signal("never")

        lab.node("Wait", wait)
        await lab.save("w", {"a": {"class": "Wait"}})
        run_id = await lab.start("w")
        with pytest.raises(Conflict) as refused:
            await Service(lab.engine).erase(run_id)
        assert refused.value.reason in ("run_not_over", "run_has_messages")

    in_lab(test)
