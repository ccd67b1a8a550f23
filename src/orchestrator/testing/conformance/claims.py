"""Claims: who gets what, in which order, when."""

import asyncio

import pytest

from orchestrator.errors import UsageError
from orchestrator.stores.contract import Enqueue
from orchestrator.testing.conformance.harness import TICK, Harness, lease_of


@pytest.mark.asyncio
class ClaimTests:
    """A claim leases due rows of runs that aren't held."""

    async def test_an_empty_queue_gives_nothing(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.store.claim("w1", queues=["default"], limit=5)
        assert (list(answer.claims), answer.next_due_us) == ([], None)

    async def test_an_unregistered_worker_gets_nothing_until_its_first_heartbeat(
        self, harness: Harness
    ) -> None:
        await harness.commit("run", enqueue=[Enqueue(path="a")])
        assert await harness.claim("w1") == []
        await harness.register("w1")
        assert [claim.path for claim in await harness.claim("w1")] == ["a"]

    async def test_a_row_is_given_out_once(self, harness: Harness) -> None:
        await harness.register("w1", "w2")
        await harness.commit("run", enqueue=[Enqueue(path="a")])
        assert len(await harness.claim("w1")) == 1
        assert await harness.claim("w2") == []
        assert await harness.claim("w1") == []

    async def test_a_claim_takes_no_more_than_its_limit(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path=f"p{number}") for number in range(5)])
        assert [len(await harness.claim("w1", limit=2)) for _ in range(4)] == [2, 2, 1, 0]

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_claim_limit_below_one_is_refused(self, harness: Harness, limit: int) -> None:
        with pytest.raises(UsageError):
            await harness.store.claim("w1", queues=["default"], limit=limit)

    async def test_concurrent_claims_share_nothing(self, harness: Harness) -> None:
        workers = [f"w{number}" for number in range(8)]
        await harness.register(*workers)
        await harness.commit("run", enqueue=[Enqueue(path=f"p{number}") for number in range(60)])
        got = await asyncio.gather(*(harness.claim(worker, limit=10) for worker in workers))
        paths = [claim.path for claims in got for claim in claims]
        assert sorted(paths) == sorted(f"p{number}" for number in range(60))

    async def test_higher_priorities_go_first(self, harness: Harness) -> None:
        await harness.register("w1")
        rows = [Enqueue(path=f"p{priority}", priority=priority) for priority in (0, 100, -100, 7)]
        await harness.commit("run", enqueue=rows)
        assert [claim.priority for claim in await harness.claim("w1")] == [100, 7, 0, -100]

    async def test_within_a_priority_the_longest_due_go_first(self, harness: Harness) -> None:
        await harness.register("w1")
        delays = [30, 10, 20, 0]
        await harness.commit("run", enqueue=[Enqueue(path=f"p{delay}", delay_us=delay) for delay in delays])
        await harness.advance(TICK)
        assert [claim.path for claim in await harness.claim("w1")] == ["p0", "p10", "p20", "p30"]

    async def test_priority_counts_over_all_queues_of_the_claim(self, harness: Harness) -> None:
        await harness.register("w1")
        wanted = [("x", 1), ("y", 3), ("x", 2), ("z", 9), ("y", 0)]
        rows = [
            Enqueue(path=queue + str(priority), queue=queue, priority=priority) for queue, priority in wanted
        ]
        await harness.commit("run", enqueue=rows)
        claims = await harness.claim("w1", queues=["x", "y"])
        assert [(claim.queue, claim.priority) for claim in claims] == [("y", 3), ("x", 2), ("x", 1), ("y", 0)]

    async def test_due_order_counts_over_all_queues_of_the_claim(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit(
            "run",
            enqueue=[
                Enqueue(path="1", queue="x", delay_us=10),
                Enqueue(path="2", queue="y", delay_us=20),
                Enqueue(path="3", queue="x", delay_us=30),
                Enqueue(path="4", queue="y", delay_us=40),
            ],
        )
        await harness.advance(TICK)
        assert [claim.path for claim in await harness.claim("w1", queues=["y", "x"], limit=3)] == [
            "1",
            "2",
            "3",
        ]

    async def test_a_claim_takes_only_from_its_queues(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a", queue="gpu"), Enqueue(path="b")])
        assert [claim.path for claim in await harness.claim("w1", queues=["gpu", "none"])] == ["a"]
        assert await harness.claim("w1", queues=[]) == []

    async def test_a_queue_named_twice_gives_each_row_once(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="b")])
        claims = await harness.claim("w1", queues=["default", "default"])
        assert sorted(claim.path for claim in claims) == ["a", "b"]

    async def test_a_delayed_row_is_not_given_out_before_it_is_due(self, harness: Harness) -> None:
        await harness.register("w1")
        answer = await harness.commit("run", enqueue=[Enqueue(path="a", delay_us=2 * TICK)])
        claimed = await harness.store.claim("w1", queues=["default"], limit=1)
        assert list(claimed.claims) == []
        assert claimed.next_due_us == answer.now_us + 2 * TICK
        await harness.advance(2 * TICK)
        (claim,) = await harness.claim("w1")
        assert (claim.queued_us, claim.due_us) == (answer.now_us, answer.now_us + 2 * TICK)

    async def test_the_next_due_time_is_never_later_than_the_earliest_free_row(
        self, harness: Harness
    ) -> None:
        await harness.register("w1")
        answer = await harness.commit(
            "run",
            worker="w1",
            enqueue=[
                Enqueue(path="later", delay_us=900 * TICK, priority=5),
                Enqueue(path="sooner", delay_us=500 * TICK),
                Enqueue(path="other", delay_us=100 * TICK, queue="other"),
                Enqueue(path="leased", delay_us=50 * TICK, leased=True),
            ],
        )
        await harness.commit("held", hold=True, enqueue=[Enqueue(path="a", delay_us=60 * TICK)])
        claimed = await harness.store.claim("w1", queues=["default"], limit=1)
        assert claimed.next_due_us is None or claimed.next_due_us <= answer.now_us + 500 * TICK

    async def test_the_depth_of_queues_counts_free_due_rows(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit(
            "run",
            worker="w1",
            enqueue=[
                Enqueue(path="1"),
                Enqueue(path="2"),
                Enqueue(path="3", queue="gpu"),
                Enqueue(path="4", delay_us=1000 * TICK),
                Enqueue(path="5", leased=True),
            ],
        )
        await harness.commit("held", hold=True, enqueue=[Enqueue(path="a")])
        assert await harness.store.queue_depth() == {"default": 2, "gpu": 1}

    async def test_a_row_whose_run_ended_and_withdrew_it_is_gone(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a")])
        await harness.commit("run", expected=1, events=[b"2"], withdraw=["a"])
        assert await harness.claim("w1") == []

    async def test_claimed_rows_can_be_finished(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("run", enqueue=[Enqueue(path="a"), Enqueue(path="b")])
        claims = await harness.claim("w1")
        answer = await harness.commit(
            "run", expected=1, events=[b"2"], stands_on=[lease_of(claim) for claim in claims]
        )
        assert answer.seq == 2
        assert await harness.rows() == {}

    async def test_runs_of_all_namespaces_share_the_queue(self, harness: Harness) -> None:
        await harness.register("w1")
        await harness.commit("one", namespace="one", enqueue=[Enqueue(path="a")])
        await harness.commit("two", namespace="two", enqueue=[Enqueue(path="a")])
        claims = await harness.claim("w1")
        assert sorted((claim.namespace, claim.run_id) for claim in claims) == [("one", "one"), ("two", "two")]
