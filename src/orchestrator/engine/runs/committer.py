"""The group committer: everything that waits is written in one batch, one disk sync for all.

While one batch is on its way the next gathers. To a store that takes several batches at once (`commits_at_once`) what
waits goes in parts, so that one is written while what the answers to another set off is computed; a run is never in two
of them. An outage is waited out, with the same batch: its commits carry ids, so a repeat is harmless. A batch that the
store can't take at all is halved until the bad commit stands alone.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from orchestrator.errors import CommitUnknown, InternalError, StoreError, StoreUnavailable
from orchestrator.stores.contract import Commit, CommitAnswer, Store

BATCH_MAX = 1_000
SPLIT_MIN = 24
"""So many commits must wait to be sent in two parts: fewer are better off in one."""
_PAUSE_FIRST_SECONDS = 0.05
_PAUSE_MAX_SECONDS = 1.0
_IMPATIENT_TRIES = 3

Answered = Callable[[CommitAnswer | BaseException], None]

log: Any = structlog.get_logger("orchestrator.committer")


class _Waiting:
    __slots__ = ("answered", "commit", "impatient")

    def __init__(self, commit: Commit, answered: Answered, *, impatient: bool) -> None:
        self.commit = commit
        self.answered = answered
        self.impatient = impatient


class Committer:
    """Writes commits in groups. `answered` is called on the event loop, in the order of submission."""

    def __init__(self, store: Store, *, heard: Callable[[int], None]) -> None:
        self._store = store
        self._heard = heard
        self._waiting: list[_Waiting] = []
        self.split_min = SPLIT_MIN
        self._lanes_max = store.commits_at_once
        self._lanes: set[asyncio.Task[None]] = set()
        # A lane is done with its last batch a turn of the loop before its task is: who comes between needs another.
        self._writing = 0
        self._in_flight: set[str] = set()
        self._closed = False
        self.last_success_us = 0
        self.trouble: str | None = None

    def submit(self, commit: Commit, answered: Answered, *, impatient: bool = False) -> None:
        """Write the commit with the next batch.

        A patient commit waits for the store as long as it takes; an `impatient` one is given up with
        StoreUnavailable after a few tries (or CommitUnknown, if it may have happened).
        """
        if self._closed:
            answered(StoreUnavailable("the engine is shutting down"))
            return
        self._waiting.append(_Waiting(commit, answered, impatient=impatient))
        if not self._writing or (self._writing < self._lanes_max and len(self._waiting) >= self.split_min):
            self._writing += 1
            lane = asyncio.get_running_loop().create_task(self._write_all(), name="committer")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    async def commit(self, commit: Commit, *, impatient: bool = False) -> CommitAnswer:
        """`submit` for those who wait.

        Raises:
            StoreUnavailable, CommitUnknown: as `submit` says.
        """
        future: asyncio.Future[CommitAnswer] = asyncio.get_running_loop().create_future()

        def answered(answer: CommitAnswer | BaseException) -> None:
            if future.done():
                return
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.submit(commit, answered, impatient=impatient)
        return await future

    async def close(self, *, within_seconds: float) -> None:
        """Write what waits, for at most this long; whoever still waits then gets StoreUnavailable."""
        self._closed = True
        if self._lanes:
            _, writing = await asyncio.wait(set(self._lanes), timeout=within_seconds)
            for lane in writing:
                lane.cancel()
            if writing:
                await asyncio.wait(writing)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.answered(StoreUnavailable("the engine is shutting down"))

    async def _write_all(self) -> None:
        batch: list[_Waiting] = []
        runs: set[str] = set()
        try:
            while batch := self._take():
                if self._lanes_max > 1:
                    runs = {one.commit.run_id for one in batch}
                    self._in_flight |= runs
                await self._write(batch)
                self._in_flight -= runs
        finally:
            self._in_flight -= runs
            self._waiting = batch + self._waiting
            self._writing -= 1

    def _take(self) -> list[_Waiting]:
        """The next batch: all that waits, or, where several are written at once, half of it. Of a run that is in
        another batch nothing: its commits keep their order."""
        waiting, most = self._waiting, BATCH_MAX
        if self._lanes_max > 1:
            most = min(most, max(self.split_min // 2, (len(waiting) + 1) // 2))
        if not self._in_flight:
            batch, self._waiting = waiting[:most], waiting[most:]
            return batch
        batch, left = list[_Waiting](), list[_Waiting]()
        for one in waiting:
            free = len(batch) < most and one.commit.run_id not in self._in_flight
            (batch if free else left).append(one)
        self._waiting = left
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        tries, pause = 0, _PAUSE_FIRST_SECONDS
        while batch:
            try:
                answers = await self._store.commit([one.commit for one in batch])
            except (StoreUnavailable, CommitUnknown) as error:
                tries += 1
                if self.trouble is None:
                    log.warning(
                        "the store doesn't take commits; trying again until it does", error=str(error)
                    )
                self.trouble = str(error)
                if tries >= _IMPATIENT_TRIES:
                    self._give_up_impatient(batch, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSE_MAX_SECONDS)
            except StoreError as error:
                await self._halve(batch, error)
                return
            except Exception as error:  # the edge of the store: a bug there must not end the committer
                log.exception("the store failed in an unexpected way")
                await self._halve(batch, InternalError(f"{type(error).__name__}: {error}"))
                return
            else:
                if self.trouble is not None:
                    log.info("the store takes commits again", tries=tries)
                    self.trouble = None
                if answers:
                    self._heard(answers[0].now_us)
                for one, answer in zip(batch, answers, strict=True):
                    one.answered(answer)
                batch.clear()

    def _give_up_impatient(self, batch: list[_Waiting], error: StoreError) -> None:
        """Whoever won't wait for the store hears of the outage, those behind the batch too: they were never sent."""
        tried = [one for one in batch if one.impatient]
        behind = [one for one in self._waiting if one.impatient]
        batch[:] = [one for one in batch if not one.impatient]
        self._waiting = [one for one in self._waiting if not one.impatient]
        for one in tried:
            one.answered(error)
        for one in behind:
            one.answered(StoreUnavailable(str(error)))

    async def _halve(self, batch: list[_Waiting], error: BaseException) -> None:
        if len(batch) == 1:
            batch.pop().answered(error)
            return
        middle = len(batch) // 2
        first, second = batch[:middle], batch[middle:]
        batch.clear()
        await self._write(first)
        await self._write(second)
