"""What counts over runs: slots, which live and die with leases, and rates."""

import itertools

import pytest

from orchestrator.stores.contract import (
    SLOT_CALL_US,
    SLOT_WAIT_US,
    Acquired,
    Enqueue,
    Granted,
    Limit,
)
from orchestrator.testing.conformance.harness import TICK, Harness, lease_of


def slots(concurrency: int, account: str = "a/slots") -> Limit:
    """So many at once."""
    return Limit(account=account, name="crm", concurrency=concurrency)


def starts(rate: int, per_us: int, account: str = "a/rate") -> Limit:
    """So many in a time."""
    return Limit(account=account, name="crm", rate=rate, per_us=per_us)


async def ask(harness: Harness, lease: Granted, *limits: Limit, worker: str = "w1") -> Acquired:
    """Ask for slots under a lease."""
    return await harness.store.acquire(worker, lease, limits)


async def holders(harness: Harness) -> list[tuple[str, str]]:
    """Who has a slot."""
    return [(holder.run_id, holder.path) for row in await harness.store.accounts() for holder in row.holders]


@pytest.mark.asyncio
class AccountTests:
    """`acquire` and `accounts`."""

    async def test_as_many_as_the_limit_says_get_a_slot_and_the_next_waits(self, harness: Harness) -> None:
        leases = [await harness.started(f"run{n}", path="a") for n in range(3)]
        answers = [await ask(harness, lease, slots(2)) for lease in leases]
        assert answers == [Acquired.GRANTED, Acquired.GRANTED, Acquired.WAITS]
        assert await holders(harness) == [("run0", "a"), ("run1", "a")]
        row = (await harness.rows("run2"))["a"]
        assert (row.worker, row.lost) == (None, 0)
        assert row.note == "slot of `crm`: 2 of 2 in use by run0, run1"
        (account,) = await harness.store.accounts()
        assert (account.account, account.waiting) == ("a/slots", 1)

    async def test_who_waits_is_not_claimed_before_it_is_called(self, harness: Harness) -> None:
        first, second = [await harness.started(f"run{n}", path="a") for n in range(2)]
        await ask(harness, first, slots(1))
        assert await ask(harness, second, slots(1)) is Acquired.WAITS
        assert await harness.claim() == []
        row = (await harness.rows("run1"))["a"]
        assert 0 < row.due_us - await harness.store.now_us() <= SLOT_WAIT_US

    async def test_the_first_in_line_is_called_when_a_slot_is_free(self, harness: Harness) -> None:
        leases = [await harness.started(f"run{n}", path="a") for n in range(4)]
        for lease in leases:
            await ask(harness, lease, slots(1))
        await harness.commit("run0", expected=1, events=[b"2"], stands_on=[lease_of(leases[0])])
        (claim,) = await harness.claim()
        assert claim.run_id == "run1"
        assert await ask(harness, Granted(run_id="run1", path="a", epoch=claim.epoch), slots(1)) is (
            Acquired.GRANTED
        )
        assert await harness.claim() == []

    async def test_a_slot_is_kept_for_who_was_called(self, harness: Harness) -> None:
        first, second = [await harness.started(f"run{n}", path="a") for n in range(2)]
        await ask(harness, first, slots(1))
        await ask(harness, second, slots(1))
        await harness.store.release("w1", [first], delay_us=SLOT_WAIT_US)
        third = await harness.started("run2", path="a")
        assert await ask(harness, third, slots(1)) is Acquired.WAITS
        assert SLOT_CALL_US < SLOT_WAIT_US

    async def test_asking_again_under_the_same_lease_changes_nothing(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        for _ in range(3):
            assert await ask(harness, lease, slots(1), starts(1, 1_000 * TICK)) is Acquired.GRANTED
        assert len(await holders(harness)) == 2

    async def test_a_lease_that_is_gone_gets_nothing(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await harness.register("w2")
        assert await ask(harness, lease, slots(1), worker="w2") is Acquired.FENCED
        await harness.store.release("w1", [lease])
        assert await ask(harness, lease, slots(1)) is Acquired.FENCED
        assert await ask(harness, Granted(run_id="none", path="a", epoch=1), slots(1)) is Acquired.FENCED
        assert await holders(harness) == []

    @pytest.mark.parametrize("how", ["finished", "withdrawn", "released", "forgotten", "lost"])
    async def test_a_slot_ends_with_its_lease_whatever_ends_that(self, harness: Harness, how: str) -> None:
        lease = await harness.started("run", path="a")
        await ask(harness, lease, slots(1))
        match how:
            case "finished":
                await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
            case "withdrawn":
                await harness.commit("run", expected=1, events=[b"2"], withdraw=["a"])
            case "released":
                await harness.store.release("w1", [lease])
            case _:
                await harness.store.forget_worker("w1", lost=how == "lost")
        assert await holders(harness) == []
        other = await harness.started("other", path="a")
        assert await ask(harness, other, slots(1)) is Acquired.GRANTED

    async def test_a_commit_that_keeps_its_lease_keeps_the_slot(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await ask(harness, lease, slots(1))
        kept = lease_of(lease, finish=False)
        await harness.commit("run", expected=1, events=[b"2"], stands_on=[kept])
        assert await holders(harness) == [("run", "a")]

    async def test_a_next_task_on_the_same_lease_row_has_no_slot(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        await ask(harness, lease, slots(1))
        step = Enqueue(path="b", leased=True)
        await harness.commit(
            "run", expected=1, events=[b"2"], worker="w1", stands_on=[lease_of(lease)], enqueue=[step]
        )
        assert await holders(harness) == []

    async def test_all_limits_or_none(self, harness: Harness) -> None:
        first, second = [await harness.started(f"run{n}", path="a") for n in range(2)]
        await ask(harness, first, slots(1, "x"))
        assert await ask(harness, second, slots(5, "y"), slots(1, "x")) is Acquired.WAITS
        assert await holders(harness) == [("run0", "a")]

    async def test_who_was_withdrawn_is_not_called(self, harness: Harness) -> None:
        leases = [await harness.started(f"run{n}", path="a") for n in range(3)]
        for lease in leases:
            await ask(harness, lease, slots(1))
        await harness.commit("run1", expected=1, events=[b"2"], withdraw=["a"])
        await harness.store.release("w1", [leases[0]], delay_us=SLOT_WAIT_US)
        assert [claim.run_id for claim in await harness.claim()] == ["run2"]

    async def test_who_is_held_is_passed_over(self, harness: Harness) -> None:
        leases = [await harness.started(f"run{n}", path="a") for n in range(3)]
        for lease in leases:
            await ask(harness, lease, slots(1))
        await harness.commit("run1", expected=None, hold=True)
        await harness.store.release("w1", [leases[0]], delay_us=SLOT_WAIT_US)
        assert [claim.run_id for claim in await harness.claim()] == ["run2"]

    async def test_a_rate_lets_so_many_start_and_gives_the_others_their_turns(self, harness: Harness) -> None:
        leases = [await harness.started(f"run{n}", path="a") for n in range(5)]
        limit = starts(2, 100 * TICK)
        answers = [await ask(harness, lease, limit) for lease in leases]
        assert answers == [Acquired.GRANTED, Acquired.GRANTED, *[Acquired.WAITS] * 3]
        dues = [(await harness.rows(f"run{n}"))["a"].due_us for n in (2, 3, 4)]
        assert [later - earlier for earlier, later in itertools.pairwise(dues)] == [50 * TICK] * 2
        assert (await harness.rows("run2"))["a"].note == "rate of `crm`: 2 in 5 s"

    async def test_a_start_comes_when_its_turn_has_come(self, harness: Harness) -> None:
        first, second = [await harness.started(f"run{n}", path="a") for n in range(2)]
        limit = starts(1, 2 * TICK)
        await ask(harness, first, limit)
        assert await ask(harness, second, limit) is Acquired.WAITS
        await harness.advance(2 * TICK)
        (claim,) = await harness.claim()
        again = Granted(run_id="run1", path="a", epoch=claim.epoch)
        assert await ask(harness, again, limit) is Acquired.GRANTED

    async def test_slots_that_were_taken_one_after_another_end_together(self, harness: Harness) -> None:
        lease = await harness.started("run", path="a")
        for account in ("x", "y"):
            assert await ask(harness, lease, slots(1, account)) is Acquired.GRANTED
        await harness.commit("run", expected=1, events=[b"2"], stands_on=[lease_of(lease)])
        assert await holders(harness) == []
