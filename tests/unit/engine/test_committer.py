"""The committer in an outage: who waits, who doesn't, and what they hear. Time is the virtual loop's."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.engine.runs.committer import Committer
from orchestrator.errors import CommitUnknown, StoreError, StoreUnavailable
from orchestrator.stores.contract import Commit, CommitAnswer, Outcome
from orchestrator.testing.clock import run_virtual


class Store:
    """Takes commits, or fails with `trouble` as long as there is one."""

    def __init__(self, commits_at_once: int = 1) -> None:
        self.commits_at_once = commits_at_once
        self.trouble: StoreError | None = None
        self.batches: list[list[str]] = []
        self.slow: asyncio.Event | None = None

    async def commit(self, commits: Sequence[Commit]) -> list[CommitAnswer]:
        self.batches.append([one.commit_id for one in commits])
        if self.slow is not None:
            await self.slow.wait()
        if self.trouble is not None:
            raise self.trouble
        return [CommitAnswer(outcome=Outcome.OK, seq=1, now_us=1) for _ in commits]


def of(name: str, *, run: str = "") -> Commit:
    return Commit(commit_id=name, run_id=run or f"run_{name}", expected=None)


def made(commits_at_once: int = 1) -> tuple[Store, Committer]:
    store: Any = Store(commits_at_once)
    return store, Committer(store, heard=lambda now_us: None)


@pytest.mark.parametrize("trouble", [StoreUnavailable("the disk is full"), CommitUnknown("the line is cut")])
def test_the_impatient_behind_a_patient_commit_hear_of_an_outage(trouble: StoreError) -> None:
    async def main() -> None:
        store, committer = made()
        store.trouble = trouble
        patient = asyncio.create_task(committer.commit(of("patient")))
        await asyncio.sleep(0.01)
        assert store.batches == [["patient"]]
        begun = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match=str(trouble)):
            await committer.commit(of("behind"), impatient=True)
        assert asyncio.get_running_loop().time() - begun < 2
        assert {tuple(batch) for batch in store.batches} == {("patient",)}

        store.trouble = None
        assert (await patient).outcome is Outcome.OK
        assert (await committer.commit(of("after"), impatient=True)).outcome is Outcome.OK

    run_virtual(lambda loop: main())


def test_the_impatient_in_the_batch_hear_what_is_known() -> None:
    async def main() -> None:
        store, committer = made()
        store.trouble = CommitUnknown("the line is cut")
        with pytest.raises(CommitUnknown):
            await committer.commit(of("sent"), impatient=True)
        assert store.batches == [["sent"]] * 3

    run_virtual(lambda loop: main())


def test_everything_that_waits_goes_in_one_batch() -> None:
    async def main() -> None:
        store, committer = made()
        names = [str(number) for number in range(5)]
        await asyncio.gather(*(committer.commit(of(name)) for name in names))
        assert store.batches == [names]

    run_virtual(lambda loop: main())


def test_to_a_store_that_takes_two_what_waits_goes_in_parts() -> None:
    async def main() -> None:
        store, committer = made(commits_at_once=2)
        store.slow = asyncio.Event()
        names = [str(number) for number in range(2 * committer.split_min)]
        all_of_them = asyncio.gather(*(committer.commit(of(name)) for name in names))
        await asyncio.sleep(0.01)
        assert len(store.batches) == 2
        assert len(store.batches[0]) == committer.split_min
        store.slow.set()
        await all_of_them
        assert sorted(name for batch in store.batches for name in batch) == sorted(names)

    run_virtual(lambda loop: main())


def test_no_two_parts_hold_the_same_run_and_its_commits_keep_their_order() -> None:
    async def main() -> None:
        store, committer = made(commits_at_once=2)
        store.slow = asyncio.Event()
        count = committer.split_min
        commits = [
            of(f"{letter}{number}", run=f"{letter in 'ab'}{number}")
            for letter in "abc"
            for number in range(count)
        ]
        all_of_them = asyncio.gather(*(committer.commit(commit) for commit in commits))
        await asyncio.sleep(0.01)
        runs = {commit.commit_id: commit.run_id for commit in commits}
        in_flight = [{runs[name] for name in batch} for batch in store.batches]
        assert len(in_flight) == 2
        assert in_flight[0].isdisjoint(in_flight[1])
        store.slow.set()
        await all_of_them
        sent = [name for batch in store.batches for name in batch]
        assert sorted(sent) == sorted(runs)
        assert all(sent.index(f"a{number}") < sent.index(f"b{number}") for number in range(count))

    run_virtual(lambda loop: main())
