"""Leases and the workers that own them."""

import asyncio

import pytest

from orchestrator.stores.contract import Enqueue, Granted, Lease, Outcome
from orchestrator.testing.conformance.harness import TICK, Harness, lease_of


@pytest.mark.asyncio
class LeaseTests:
    """A lease lives as long as its worker's registration."""

    async def test_a_heartbeat_answers_with_everything_that_is_owned(self, harness: Harness) -> None:
        await harness.register("w1")
        given = [await harness.started(f"run{number}", path="a") for number in range(3)]
        answer = await harness.store.heartbeat("w1", lease_us=TICK)
        assert sorted(answer.owned, key=lambda lease: lease.run_id) == given
        assert answer.now_us <= await harness.store.now_us()
        other = await harness.store.heartbeat("w2", lease_us=TICK)
        assert list(other.owned) == []

    async def test_a_blocking_heartbeat_works_on_a_thread_of_its_own(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        answer = await asyncio.to_thread(harness.store.heartbeat_blocking, "w1", lease_us=TICK, info=b"x")
        assert list(answer.owned) == [lease]
        assert [row.info for row in await harness.store.workers()] == [b"x"]

    async def test_workers_are_listed_with_their_leases(self, harness: Harness) -> None:
        await harness.started("run", path="a", worker="w2")
        answer = await harness.store.heartbeat("w1", lease_us=7 * TICK, info=b"\x00info")
        rows = {row.worker: row for row in await harness.store.workers()}
        assert {worker: row.leases for worker, row in rows.items()} == {"w1": 0, "w2": 1}
        assert (rows["w1"].seen_us, rows["w1"].expires_us) == (answer.now_us, answer.now_us + 7 * TICK)
        assert rows["w1"].info == b"\x00info"

    async def test_a_heartbeat_extends_the_registration(self, harness: Harness) -> None:
        await harness.register("w1", lease_us=2 * TICK)
        await harness.advance(TICK + TICK // 2)
        await harness.register("w1", lease_us=20 * TICK)
        await harness.advance(TICK)
        assert await harness.store.expire_workers() == []

    async def test_expired_workers_are_forgotten_and_their_rows_free(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.register("w1", lease_us=TICK)
        await harness.register("w2")
        await harness.advance(2 * TICK)
        assert await harness.store.expire_workers() == ["w1"]
        assert [row.worker for row in await harness.store.workers()] == ["w2"]
        (claim,) = await harness.claim("w2")
        assert (claim.path, claim.lost) == ("a", 1)
        assert claim.epoch > lease.epoch

    async def test_expiring_twice_tells_each_worker_once(self, harness: Harness) -> None:
        await harness.register("w1", "w2", lease_us=TICK)
        await harness.advance(2 * TICK)
        assert sorted(await harness.store.expire_workers()) == ["w1", "w2"]
        assert await harness.store.expire_workers() == []

    async def test_a_worker_whose_time_has_come_keeps_its_leases_until_it_is_expired(
        self, harness: Harness
    ) -> None:
        lease = await harness.started("run", path="a")
        await harness.register("w1", lease_us=TICK)
        await harness.advance(2 * TICK)
        answer = await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.OK

    async def test_a_worker_that_was_expired_is_fenced_even_if_nobody_claimed_since(
        self, harness: Harness
    ) -> None:
        lease = await harness.started("run", path="a")
        await harness.register("w1", lease_us=TICK)
        await harness.advance(2 * TICK)
        await harness.store.expire_workers()
        answer = await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
        assert (answer.outcome, list(answer.lost)) == (Outcome.FENCED, ["a"])
        assert list((await harness.store.heartbeat("w1", lease_us=TICK)).owned) == []

    async def test_a_fenced_worker_cannot_complete_a_task_that_another_has_claimed(
        self, harness: Harness
    ) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.store.forget_worker("w1", lost=True)
        await harness.register("w2")
        (claim,) = await harness.claim("w2")
        old = await harness.commit("run", expected=1, events=[b"old"], stands_on=[lease_of(lease)])
        new = await harness.commit("run", expected=1, events=[b"new"], stands_on=[lease_of(claim)])
        assert (old.outcome, new.outcome) == (Outcome.FENCED, Outcome.OK)
        assert await harness.store.read_journal("run") == [b"first", b"new"]

    async def test_forgetting_a_worker_that_says_goodbye_counts_nobody_as_lost(
        self, harness: Harness
    ) -> None:
        await harness.started("run", path="a", worker="w1")
        await harness.store.forget_worker("w1")
        await harness.register("w2")
        assert [claim.lost for claim in await harness.claim("w2")] == [0]

    async def test_forgetting_an_unknown_worker_does_nothing(self, harness: Harness) -> None:
        await harness.store.forget_worker("nobody", lost=True)
        assert await harness.store.workers() == []

    async def test_lost_workers_add_up_until_something_is_recorded(self, harness: Harness) -> None:
        await harness.started("run", path="a", worker="w0")
        for number in range(3):
            await harness.store.forget_worker(f"w{number}", lost=True)
            await harness.register(f"w{number + 1}")
            claims = await harness.claim(f"w{number + 1}")
            assert [claim.lost for claim in claims] == [number + 1]
        held = [Lease(path="a", epoch=(await harness.rows())["a"].epoch, finish=False)]
        await harness.commit("run", expected=1, events=[b"2"], stands_on=held)
        assert (await harness.rows())["a"].lost == 0
        await harness.store.forget_worker("w3", lost=True)
        assert (await harness.rows())["a"].lost == 1

    async def test_a_lease_that_is_not_finished_stays_with_the_worker(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        for seq in (1, 2):
            answer = await harness.commit(
                "run", expected=seq, events=[b"x"], stands_on=[lease_of(lease, finish=False)]
            )
            assert answer.outcome is Outcome.OK
        assert (await harness.rows())["a"].epoch == lease.epoch

    async def test_a_released_row_is_free_and_nobody_is_lost(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.store.release("w1", [lease], note="class `X` isn't here")
        row = (await harness.rows())["a"]
        assert (row.worker, row.lost, row.note, row.leased_us) == (None, 0, "class `X` isn't here", None)
        (claim,) = await harness.claim("w1")
        assert claim.epoch > lease.epoch
        assert (await harness.rows())["a"].note == ""

    async def test_a_row_released_with_a_delay_is_due_later(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.store.release("w1", [lease], delay_us=2 * TICK)
        assert await harness.claim("w1") == []
        await harness.advance(2 * TICK)
        assert [claim.path for claim in await harness.claim("w1")] == ["a"]

    async def test_releasing_what_is_not_owned_does_nothing(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.register("w2")
        await harness.store.release("w2", [lease], note="not mine")
        await harness.store.release(
            "w1", [Granted(run_id="run", path="a", epoch=lease.epoch + 1)], note="old"
        )
        await harness.store.release("w1", [Granted(run_id="nobody", path="a", epoch=1)], note="no run")
        row = (await harness.rows())["a"]
        assert (row.worker, row.note) == ("w1", "")

    async def test_a_released_lease_fences_its_former_owner(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.store.release("w1", [lease])
        answer = await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.FENCED

    async def test_a_worker_that_comes_back_after_being_forgotten_owns_nothing(
        self, harness: Harness
    ) -> None:
        await harness.started("run", path="a", worker="w1")
        await harness.store.forget_worker("w1")
        assert list((await harness.store.heartbeat("w1", lease_us=TICK)).owned) == []

    async def test_finishing_twice_is_fenced(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        first = await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
        second = await harness.commit("run", expected=2, events=[b"2"], stands_on=[lease_of(lease)])
        assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.FENCED)

    async def test_a_lease_of_another_run_with_the_same_path_does_not_count(self, harness: Harness) -> None:
        lease = await harness.started("one", path="a")
        await harness.commit("two", enqueue=[Enqueue(path="a")])
        answer = await harness.commit("two", expected=1, events=[b"x"], stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.FENCED

    async def test_a_deregistered_worker_loses_the_grant_of_a_later_commit(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.commit("other", enqueue=[Enqueue(path="x")])
        await harness.store.forget_worker("w1")
        answer = await harness.commit(
            "other", expected=1, worker="w1", events=[b"2"], enqueue=[Enqueue(path="b", leased=True)]
        )
        assert list(answer.leases) == []
        assert lease.path == "a"
