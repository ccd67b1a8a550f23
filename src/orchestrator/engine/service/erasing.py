"""Erasing a run's data: what happened stays, what people gave and got goes. Part of the `Service`.

First the fact is journalled, and from then on nothing goes on from the run. Then its journal is written anew in pieces,
and last its snapshot, summary, index row and blobs. A crash in between leaves a run whose summary says `erasing`; the
same call again takes it up and finishes it, and changes nothing where all is done.
"""

import msgspec

from orchestrator.engine.attempts.caching import forget_outputs
from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.index import index_of
from orchestrator.engine.runs.summary import decode_summary, summary_of
from orchestrator.errors import Conflict, NotFound
from orchestrator.kernel.apply import apply
from orchestrator.kernel.commands import EraseRun
from orchestrator.kernel.erasing import erased, erased_words
from orchestrator.kernel.events import RunStarted, decode, encode
from orchestrator.kernel.state import RunState, encode_state
from orchestrator.stores.contract import Leftover, RunFilter, RunRow

EVENTS_AT_ONCE = 1_000
RUNS_AT_ONCE = 1_000
FORKS_NAMED_MAX = 10


async def erase(engine: Engine, row: RunRow, *, by: str = "operator", reason: str | None = None) -> None:
    """Erase the data of a run that is over.

    Raises:
        Conflict: it isn't over (`run_not_over`), forks of it read its past (`run_has_forks`), or messages of it aren't
            delivered (`run_has_messages`).
        StoreUnavailable: it may be erased in part; repeat it.
    """
    run_id = row.run_id
    await _refuse_forks(engine, row)
    if messages := await engine.store.queue_rows(run_id):
        raise Conflict(
            f"run {run_id} has {len(messages)} rows in the queue that aren't done, such as `{messages[0].path}`; "
            "erase it when they are",
            reason="run_has_messages",
        )
    state = await engine.command(run_id, EraseRun(by=by, reason=reason))
    seq = state.seq
    leftover = await _write_anew(engine, run_id, seq)
    summary = msgspec.structs.replace(summary_of(leftover), erasing=False)
    rest = Leftover(
        snapshot=encode_state(leftover), summary=msgspec.json.encode(summary), index=index_of(leftover)
    )
    if not await engine.store.rewrite(run_id, expected=seq, after=seq, events=(), rest=rest):
        raise Conflict(f"run {run_id} was advanced while its data was erased; erase it again", reason="busy")
    engine.forget(run_id)


async def _write_anew(engine: Engine, run_id: str, seq: int) -> RunState:
    """Write every event without its data; gives the state that these events fold to."""
    state, after = RunState(), 0
    while after < seq:
        lines = await engine.store.read_journal(run_id, after=after, limit=min(EVENTS_AT_ONCE, seq - after))
        if not lines:
            raise NotFound("run", run_id)
        found = [decode(line) for line in lines]
        await forget_outputs(engine, run_id, found)
        if after == 0 and isinstance(found[0], RunStarted) and (origin := found[0].forked_from) is not None:
            state = erased(await engine.state_at(origin.run, origin.seq))
            state.seq = 0
        events = [erased(event) for event in found]
        for event in events:
            apply(state, event)
        new = [encode(event) for event in events]
        if new != lines and not await engine.store.rewrite(run_id, expected=seq, after=after, events=new):
            raise Conflict(
                f"run {run_id} was advanced while its data was erased; erase it again", reason="busy"
            )
        after += len(lines)
    return state


async def _refuse_forks(engine: Engine, row: RunRow) -> None:
    """Forks read the prefix of their parent's journal: while one has its data, so must the parent."""
    found: list[str] = []
    cursor: str | None = None
    where = RunFilter(namespace=row.namespace, workflow=row.index.workflow)
    while len(found) <= FORKS_NAMED_MAX:
        page = await engine.store.list_runs(where, limit=RUNS_AT_ONCE, cursor=cursor)
        for run in page.items:
            summary = decode_summary(run.summary)
            origin = summary.forked_from
            if origin is not None and origin.run == row.run_id and summary.erased is None:
                found.append(run.run_id)
        cursor = page.cursor
        if cursor is None:
            break
    if found:
        more = " and more" if len(found) > FORKS_NAMED_MAX else ""
        names = ", ".join(found[:FORKS_NAMED_MAX])
        raise Conflict(
            f"{names}{more} forked from run {row.run_id} and read its past; erase these first",
            reason="run_has_forks",
        )


def refuse_fork_of_erased(row: RunRow) -> None:
    """A fork would begin with what is no longer there, wherever it is cut.

    Raises:
        Conflict: the run's data was erased (`run_erased`).
    """
    gone = decode_summary(row.summary).erased
    if gone is not None:
        raise Conflict(erased_words(row.run_id, gone.at), reason="run_erased")
