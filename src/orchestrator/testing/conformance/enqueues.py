"""Queue rows that commits write: free, delayed, leased at once, over others, in held runs."""

import pytest

from orchestrator.stores.contract import Enqueue, Lease, Outcome, TaskKind
from orchestrator.testing.conformance.harness import TICK, Harness, lease_of


@pytest.mark.asyncio
class EnqueueTests:
    """What exists in the queue after a commit."""

    async def test_a_row_keeps_what_it_was_written_with(self, harness: Harness) -> None:
        await harness.register("w1")
        wanted = Enqueue(path="a", kind=TaskKind.MESSAGE, queue="mail", priority=-7, payload=b"\x00\xff text")
        answer = await harness.commit("run", namespace="space", enqueue=[wanted])
        (claim,) = await harness.claim(queues=["mail"])
        assert (claim.namespace, claim.run_id, claim.path, claim.kind) == (
            "space",
            "run",
            "a",
            TaskKind.MESSAGE,
        )
        assert (claim.queue, claim.priority, claim.payload, claim.lost) == ("mail", -7, b"\x00\xff text", 0)
        assert claim.queued_us == claim.due_us == answer.now_us

    async def test_a_leased_row_is_the_workers_at_once(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        assert (lease.run_id, lease.path) == ("run", "a")
        row = (await harness.rows())["a"]
        assert (row.worker, row.epoch) == ("w1", lease.epoch)
        assert row.leased_us is not None
        assert await harness.claim("w1") == []

    async def test_only_leased_rows_are_granted_in_the_order_of_the_commit(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.commit(
            "run",
            worker="w1",
            enqueue=[Enqueue(path="z", leased=True), Enqueue(path="free"), Enqueue(path="a", leased=True)],
        )
        assert [lease.path for lease in answer.leases] == ["z", "a"]
        assert [claim.path for claim in await harness.claim("w1")] == ["free"]

    @pytest.mark.parametrize("worker", ["", "stranger"])
    async def test_a_worker_that_is_not_registered_is_granted_nothing(
        self, harness: Harness, worker: str
    ) -> None:
        answer = await harness.commit("run", worker=worker, enqueue=[Enqueue(path="a", leased=True)])
        assert (answer.outcome, list(answer.leases)) == (Outcome.OK, [])
        assert (await harness.rows())["a"].worker is None

    async def test_enqueueing_over_a_leased_row_leaves_it(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        answer = await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            enqueue=[Enqueue(path="a", leased=True, priority=5)],
        )
        assert (answer.outcome, list(answer.leases)) == (Outcome.OK, [])
        row = (await harness.rows())["a"]
        assert (row.worker, row.epoch, row.priority) == ("w1", lease.epoch, 0)

    async def test_enqueueing_over_a_kept_lease_of_the_same_commit_leaves_it(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit(
            "run",
            expected=1,
            events=[b"2"],
            stands_on=[lease_of(lease, finish=False)],
            enqueue=[Enqueue(path="a", delay_us=TICK)],
        )
        assert (await harness.rows())["a"].worker == "w1"

    async def test_enqueueing_over_a_free_row_replaces_it(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a", queue="old", priority=3, payload=b"old")])
        await harness.advance(TICK)
        answer = await harness.commit(
            "run", expected=1, events=[b"2"], enqueue=[Enqueue(path="a", kind=TaskKind.TIMER, payload=b"new")]
        )
        assert await harness.claim(queues=["old"]) == []
        (claim,) = await harness.claim()
        assert (claim.kind, claim.priority, claim.payload, claim.queued_us) == (
            TaskKind.TIMER,
            0,
            b"new",
            answer.now_us,
        )

    async def test_replacing_a_free_row_forgets_lost_workers_and_note(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a", worker="w1")
        await harness.store.release("w1", [lease], note="no class")
        await harness.register("w2")
        await harness.claim("w2")
        await harness.store.forget_worker("w2", lost=True)
        await harness.commit("run", expected=1, events=[b"2"], enqueue=[Enqueue(path="a")])
        row = (await harness.rows())["a"]
        assert (row.lost, row.note) == (0, "")

    async def test_finishing_and_enqueueing_one_path_in_one_commit_writes_it_anew(
        self, harness: Harness
    ) -> None:
        lease = await harness.started("run", path="a")
        answer = await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="a", leased=True)],
        )
        assert answer.leases[0].epoch > lease.epoch
        assert (await harness.rows())["a"].epoch == answer.leases[0].epoch

    async def test_a_retry_enqueues_the_finished_path_with_a_delay(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        answer = await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="a", delay_us=TICK)],
        )
        assert list(answer.leases) == []
        assert (await harness.rows())["a"].due_us == answer.now_us + TICK
        assert await harness.claim() == []
        await harness.advance(TICK)
        assert [claim.path for claim in await harness.claim()] == ["a"]

    async def test_a_path_taken_by_a_free_row_is_taken_over_by_a_leased_one(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit("run", expected=1, events=[b"2"], enqueue=[Enqueue(path="b", payload=b"old")])
        answer = await harness.commit(
            "run",
            expected=2,
            worker="w1",
            events=[b"3"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True, payload=b"new")],
        )
        assert [given.path for given in answer.leases] == ["b"]
        assert set(await harness.rows()) == {"b"}

    async def test_a_chain_onto_a_path_that_another_worker_holds_grants_nothing(
        self, harness: Harness
    ) -> None:
        lease = await harness.started("run", path="a")
        await harness.register("w2")
        await harness.commit("run", expected=1, events=[b"2"], enqueue=[Enqueue(path="b")])
        await harness.claim("w2")
        answer = await harness.commit(
            "run",
            expected=2,
            worker="w1",
            events=[b"3"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        assert (answer.outcome, list(answer.leases)) == (Outcome.OK, [])
        rows = await harness.rows()
        assert set(rows) == {"b"}
        assert rows["b"].worker == "w2"

    async def test_a_delayed_leased_row_is_the_workers_before_it_is_due(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.commit(
            "run", worker="w1", enqueue=[Enqueue(path="a", leased=True, delay_us=100 * TICK)]
        )
        assert [lease.path for lease in answer.leases] == ["a"]
        await harness.store.forget_worker("w1")
        assert (await harness.rows())["a"].due_us == answer.now_us + 100 * TICK

    async def test_epochs_of_a_path_always_rise(self, harness: Harness) -> None:
        epochs = [(await harness.started("run", path="a")).epoch]
        seq = 1
        for round_ in range(4):
            row = (await harness.rows())["a"]
            enqueue = [Enqueue(path="a", leased=round_ % 2 == 0)]
            lease = Lease(path=row.path, epoch=row.epoch)
            answer = await harness.commit(
                "run", expected=seq, worker="w1", events=[b"x"], stands_on=[lease], enqueue=enqueue
            )
            seq = answer.seq
            epochs.append(answer.leases[0].epoch if answer.leases else (await harness.claim())[0].epoch)
        await harness.commit("run", expected=seq, events=[b"x"], withdraw=["a"])
        await harness.commit("run", expected=seq + 1, events=[b"x"], enqueue=[Enqueue(path="a")])
        (claim,) = await harness.claim()
        epochs.append(claim.epoch)
        await harness.store.forget_worker("w1")
        await harness.register("w1")
        epochs.append((await harness.claim())[0].epoch)
        assert epochs == sorted(set(epochs))

    async def test_a_held_run_gives_out_nothing(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="t", kind=TaskKind.TIMER)])
        await harness.commit("run", expected=1, events=[b"2"], hold=True)
        assert await harness.claim() == []
        loaded = await harness.store.load("run")
        assert loaded is not None
        assert loaded.held
        await harness.commit("run", expected=2, events=[b"3"], hold=False)
        assert sorted(claim.path for claim in await harness.claim()) == ["a", "t"]

    async def test_a_leased_row_in_a_held_run_is_written_free(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit("run", expected=1, events=[b"2"], hold=True)
        answer = await harness.commit(
            "run",
            expected=2,
            worker="w1",
            events=[b"3"],
            stands_on=[lease_of(lease)],
            enqueue=[Enqueue(path="b", leased=True)],
        )
        assert (answer.outcome, list(answer.leases)) == (Outcome.OK, [])
        row = (await harness.rows())["b"]
        assert (row.worker, row.held) == (None, True)
        assert await harness.claim() == []
        await harness.commit("run", expected=3, events=[b"4"], hold=False)
        assert [claim.path for claim in await harness.claim()] == ["b"]

    async def test_a_commit_that_holds_writes_its_own_rows_free(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.commit("run", worker="w1", hold=True, enqueue=[Enqueue(path="a", leased=True)])
        assert list(answer.leases) == []
        assert (await harness.rows())["a"].held

    async def test_a_commit_that_lifts_the_hold_leases_its_rows(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", hold=True)
        answer = await harness.commit(
            "run",
            expected=1,
            worker="w1",
            events=[b"2"],
            hold=False,
            enqueue=[Enqueue(path="a", leased=True)],
        )
        assert [lease.path for lease in answer.leases] == ["a"]

    async def test_holding_a_run_leaves_its_leases_alone(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit("run", expected=1, events=[b"2"], hold=True)
        assert (await harness.rows())["a"].worker == "w1"
        answer = await harness.commit("run", expected=2, events=[b"3"], stands_on=[lease_of(lease)])
        assert answer.outcome is Outcome.OK

    async def test_a_row_freed_in_a_held_run_waits_for_the_release(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.commit("run", expected=1, events=[b"2"], hold=True)
        await harness.store.release("w1", [lease])
        assert await harness.claim() == []
        await harness.commit("run", expected=2, events=[b"3"], hold=False)
        assert [claim.path for claim in await harness.claim()] == ["a"]
