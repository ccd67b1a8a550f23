"""The reconciler: compares what each live run's state asks of the queue with what is there, and puts back what is lost.

The queue rows of a run are derived from its state and written in the same commits, so there should be nothing to do.
If there is, it is a bug or a damaged store: it is repaired, counted, and said aloud. A live run that nothing will
move on is reported too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.engine.runs.actor import restore
from orchestrator.engine.runs.lost import Lost, lost_messages
from orchestrator.engine.runs.rows import enqueue_of
from orchestrator.errors import NotFound, StoreError
from orchestrator.kernel.messages import encode_message
from orchestrator.kernel.outlook import expected_rows, message_path, wakers_of
from orchestrator.kernel.state import RunState
from orchestrator.model.grafts import grafted
from orchestrator.stores.contract import Commit, Enqueue, RunFilter, TaskKind

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine

PAGE = 500
LOOK_AGAIN_ROUNDS = 20
"""A run whose seq hasn't moved since it was found in order is looked at again only after so many rounds."""
EXPIRE_AT_ONCE = 1_000
EXPIRE_BATCHES = 10
"""Cached outputs whose time is over are removed in so many transactions a round, of so many each."""

log: Any = structlog.get_logger("orchestrator.reconciler")


class Reconciler:
    """Looks at all live runs of a namespace. `repaired` and `stuck` count what was found since the start."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._in_order: dict[str, tuple[int, int]] = {}
        self._round = 0
        self.repaired = 0
        self.stuck = 0

    async def look(self) -> int:
        """One round over all live runs; gives the number of rows that were put back.

        Raises:
            StoreUnavailable: the round ended early.
        """
        self._round += 1
        repaired = 0
        seen: set[str] = set()
        cursor: str | None = None
        where = RunFilter(namespace=self._engine.config.namespace, live=True)
        while True:
            page = await self._engine.store.list_runs(where, limit=PAGE, cursor=cursor)
            for row in page.items:
                seen.add(row.run_id)
                known = self._in_order.get(row.run_id)
                if known is not None and known[0] == row.seq and self._round - known[1] < LOOK_AGAIN_ROUNDS:
                    continue
                repaired += await self._look_at(row.run_id)
            cursor = page.cursor
            if cursor is None:
                break
        self._in_order = {run: known for run, known in self._in_order.items() if run in seen}
        self.repaired += repaired
        await self._expire_cached()
        return repaired

    async def _expire_cached(self) -> None:
        """Remove cached outputs whose time is over, in batches; what is left over waits for the next round."""
        for _ in range(EXPIRE_BATCHES):
            if await self._engine.store.expire_cached(limit=EXPIRE_AT_ONCE) < EXPIRE_AT_ONCE:
                break

    async def _look_at(self, run_id: str) -> int:
        engine = self._engine
        try:
            loaded = await engine.store.load(run_id)
            if loaded is None:
                return 0
            state = restore(loaded)
            version = await engine.definitions.get(state.workflow, state.version, namespace=state.namespace)
            definition = grafted(version, state.plans)
        except NotFound as error:
            log.error("a live run's workflow version is gone", run=run_id, error=str(error))
            return 0
        except StoreError as error:
            log.error("a live run can't be read", run=run_id, error=str(error))
            return 0
        if not state.status.live:
            return 0
        if not wakers_of(state):
            self.stuck += 1
            log.error(
                "a live run has no waker; this is a bug", run=run_id, status=state.status.value, seq=state.seq
            )
            return 0
        present = {row.path for row in await engine.store.queue_rows(run_id)}
        missing = [row for row in expected_rows(state, definition) if row.path not in present]
        lost = await lost_messages(engine, state, definition, present)
        if lost and await self._still_at(run_id, state):
            await self._send_again(lost, namespace=state.namespace)
            return len(lost)
        if missing and await self._still_at(run_id, state):
            now_us = engine.now_us()
            rows = [
                enqueue_of(
                    row,
                    state.tasks.get(row.path),
                    definition,
                    delay_us=max(0, row.due_us - now_us),
                    priority=state.priority,
                )
                for row in missing
            ]
            await engine.committer.commit(
                Commit(
                    commit_id=engine.new_commit_id(),
                    run_id=run_id,
                    namespace=state.namespace,
                    expected=None,
                    enqueue=rows,
                )
            )
            log.error(
                "queue rows were missing and are put back", run=run_id, paths=[row.path for row in missing]
            )
            return len(missing)
        self._in_order[run_id] = (state.seq, self._round)
        return 0

    async def _send_again(self, lost: Sequence[Lost], *, namespace: str) -> None:
        for sender, message in lost:
            row = Enqueue(path=message_path(message), kind=TaskKind.MESSAGE, payload=encode_message(message))
            await self._engine.committer.commit(
                Commit(
                    commit_id=self._engine.new_commit_id(),
                    run_id=sender,
                    namespace=namespace,
                    expected=None,
                    enqueue=[row],
                )
            )
            log.error("a message was lost and is sent again", run=sender, to=message.to, path=row.path)

    async def _still_at(self, run_id: str, state: RunState) -> bool:
        """Whether the run has not moved while it was looked at: else what seemed missing may just be done."""
        return not await self._engine.store.changed({run_id: state.seq})
