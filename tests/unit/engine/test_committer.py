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

    def __init__(self) -> None:
        self.trouble: StoreError | None = None
        self.batches: list[list[str]] = []

    async def commit(self, commits: Sequence[Commit]) -> list[CommitAnswer]:
        self.batches.append([one.commit_id for one in commits])
        if self.trouble is not None:
            raise self.trouble
        return [CommitAnswer(outcome=Outcome.OK, seq=1, now_us=1) for _ in commits]


def of(name: str) -> Commit:
    return Commit(commit_id=name, run_id=f"run_{name}", expected=None)


def made() -> tuple[Store, Committer]:
    store: Any = Store()
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
