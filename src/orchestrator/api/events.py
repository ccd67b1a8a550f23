"""The journal of a run as pages and as a stream, and one stream over many runs."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from orchestrator.api import described, models
from orchestrator.api.answers import page
from orchestrator.api.context import service_of, settings_of
from orchestrator.api.params import RunId, name_filter, problems
from orchestrator.api.sse import EventStream, Streams, last_event_id, seq_of
from orchestrator.engine.views.feeds import FeedItem

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The id of the last event seen; goes before `after`."),
]


@router.get(
    "/runs/{run_id}/journal",
    operation_id="read_journal",
    summary="Read the journal",
    response_model=models.Items[models.JournalEvent],
    responses=problems(404, 422, 503),
)
async def read_journal(
    request: Request,
    run_id: RunId,
    after: Annotated[int, Query(description="Only events behind this seq.", ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=1000)] = 200,
    kind: Annotated[str | None, Query(description="Only events of this kind.", max_length=100)] = None,
    node: Annotated[str | None, Query(description="Only events of this node.", max_length=128)] = None,
) -> Response:
    """Events in order. `next` is the seq to give as `after`; null at the end of what has happened so far."""
    found = await service_of(request).read_journal(run_id, after=after, limit=limit, kind=kind, node=node)
    return page(found["items"], found["next"])


@router.get(
    "/runs/{run_id}/events",
    operation_id="follow_run",
    summary="Follow a run",
    response_class=Response,
    responses={
        **described.stream(
            "`journal` events with their seq as id; `live` notices without id; `end` behind the last event."
        ),
        **problems(404, 422, 503),
    },
)
async def follow_run(
    request: Request,
    run_id: RunId,
    last_seen: LastEventId = None,
    after: Annotated[
        str | None,
        Query(description="Begin behind this seq, where `Last-Event-ID` can't be sent.", max_length=20),
    ] = None,
) -> Response:
    """The journal as it grows, from its beginning or from behind `Last-Event-ID`: no gap, no repeat."""
    service = service_of(request)
    position = seq_of(last_event_id(last_seen, after))
    # An unknown run is an ordinary 404, before the stream begins.
    await service.get_run(run_id)
    return _stream(request, service.follow_run(run_id, after=position))


@router.get(
    "/events",
    operation_id="follow_runs",
    summary="Follow many runs",
    response_class=Response,
    responses={
        **described.stream(
            "First `ready`, then `journal`, `live` and `run` events; the id is opaque and resumes the stream."
        ),
        **problems(400, 422, 503),
    },
)
async def follow_runs(
    request: Request,
    run: Annotated[str | None, Query(description="Only this run.", min_length=1, max_length=128)] = None,
    workflow: Annotated[str | None, Query(description="Only runs of this workflow.", max_length=200)] = None,
    last_seen: LastEventId = None,
    after: Annotated[
        str | None,
        Query(description="Begin behind this id, where `Last-Event-ID` can't be sent.", max_length=2000),
    ] = None,
) -> Response:
    """Events of many runs, each run's in order, from now on or from behind `Last-Event-ID`."""
    cursor = last_event_id(last_seen, after)
    name = name_filter(workflow)
    return _stream(request, service_of(request).follow(run=run, workflow=name, cursor=cursor))


def _stream(request: Request, items: AsyncGenerator[FeedItem]) -> EventStream:
    streams: Streams = request.app.state.streams
    streams.check()
    return EventStream(
        items,
        streams=streams,
        closing=request.app.state.closing,
        heartbeat_seconds=settings_of(request).sse_heartbeat_seconds,
    )
