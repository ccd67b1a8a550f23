"""What `runs ...` talks to: a server over HTTP, or a store directly. Both answer with the API's shapes."""

import asyncio
import contextlib
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import quote

from orchestrator.cli.client import Client, Unreachable, segment
from orchestrator.cli.exits import Exit, Refused

View = dict[str, Any]
RECONNECTS_MAX = 20
RECONNECT_SECONDS = 0.5


class Told(NamedTuple):
    """One item of a run's feed: `journal`, `live` or `end`."""

    event: str
    data: View


class Runs(Protocol):
    """Runs somewhere. Everything raises NotFound, Conflict and the like, as errors or as answers of a server."""

    def list(self, *, query: Mapping[str, Any]) -> View:
        """Runs, newest first; `query` as the API names it."""
        ...

    def get(self, run_id: str) -> View:
        """The run as it stands."""
        ...

    def tasks(self, run_id: str) -> Sequence[View]:
        """Its tasks, in the order of their scheduling; items are counted in the task that has them."""
        ...

    def explain(self, run_id: str) -> View:
        """What it waits for."""
        ...

    def journal(self, run_id: str, *, after: int) -> Iterator[View]:
        """Its events behind `after`, as far as there are any."""
        ...

    def follow(self, run_id: str, *, after: int) -> Iterator[Told]:
        """Its events behind `after` as they come, until it is over."""
        ...

    def change(self, run_id: str, action: str, *, reason: str | None) -> View:
        """`pause`, `resume`, `cancel`, `retry` or `erase`."""
        ...

    def raise_budget(self, run_id: str, limits: Mapping[str, Any], *, reason: str | None) -> View:
        """Give it new limits, by the names of the document's `budget`."""
        ...

    def fork(self, run_id: str, *, seq: int | None, patch: Mapping[str, Any], plan: bool) -> View:
        """A new run that continues this one from `seq`; with `plan` only what that would mean."""
        ...

    def export(self, run_id: str) -> Iterator[bytes]:
        """The run as a file, in pieces."""
        ...

    def import_(self, file: BinaryIO) -> View:
        """A run from such a file."""
        ...

    def signal(self, run_id: str, name: str, payload: Any, *, key: str | None) -> View:
        """Send a signal."""
        ...

    def resolve(self, run_id: str, path: str, action: str, *, output: Any, message: str | None) -> View:
        """Say what became of a task in doubt."""
        ...


@contextlib.contextmanager
def connect(*, server: str | None, store: str | None) -> Generator[Runs]:
    """The runs of a store, if one is named; else of a server.

    Raises:
        Refused: both are named, or the store isn't there.
        StoreError: the store can't be used.
    """
    if store is None:
        yield OfServer(Client.from_environment(server))
        return
    if server is not None:
        raise Refused("--server and --store name two places; give one of them", exit=Exit.USAGE, code="usage")
    with OfStore.opened(store) as runs:
        yield runs


class OfServer:
    """Runs of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, query: Mapping[str, Any]) -> View:
        return self._client.get("/runs", query=query)

    def get(self, run_id: str) -> View:
        return self._client.get(f"/runs/{segment(run_id)}")

    def tasks(self, run_id: str) -> Sequence[View]:
        found: list[View] = []
        cursor: str | None = None
        while True:
            query = {"limit": 1000, "items": "false", "cursor": cursor}
            page = self._client.get(f"/runs/{segment(run_id)}/tasks", query=query)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def explain(self, run_id: str) -> View:
        return self._client.get(f"/runs/{segment(run_id)}/explain")

    def journal(self, run_id: str, *, after: int) -> Iterator[View]:
        position: Any = after
        while position is not None:
            page = self._client.get(
                f"/runs/{segment(run_id)}/journal", query={"after": position, "limit": 1000}
            )
            yield from page["items"]
            position = page["next"]

    def follow(self, run_id: str, *, after: int) -> Iterator[Told]:
        import time

        failures = 0
        while True:
            try:
                for event, position, data in self._client.stream(
                    f"/runs/{segment(run_id)}/events", after=str(after)
                ):
                    failures = 0
                    after = int(position) if position is not None else after
                    yield Told(event, data)
                    if event == "end":
                        return
            except Unreachable:
                # A server that starts again goes on where we were; one that never was there is said at once.
                failures += 1
                if failures > RECONNECTS_MAX or (failures == 1 and after == 0):
                    raise
            time.sleep(RECONNECT_SECONDS)

    def change(self, run_id: str, action: str, *, reason: str | None) -> View:
        body = {"reason": reason} if reason is not None and action != "retry" else {}
        return self._client.post(f"/runs/{segment(run_id)}/{action}", body)

    def raise_budget(self, run_id: str, limits: Mapping[str, Any], *, reason: str | None) -> View:
        body = {**limits, **({"reason": reason} if reason is not None else {})}
        return self._client.post(f"/runs/{segment(run_id)}/budget", body)

    def fork(self, run_id: str, *, seq: int | None, patch: Mapping[str, Any], plan: bool) -> View:
        path = f"/runs/{segment(run_id)}/fork" + ("/plan" if plan else "")
        return self._client.post(path, {"seq": seq, **patch} if seq is not None else dict(patch))

    def export(self, run_id: str) -> Iterator[bytes]:
        return self._client.download(f"/runs/{segment(run_id)}/export")

    def import_(self, file: BinaryIO) -> View:
        size = file.seek(0, 2)
        file.seek(0)
        return self._client.upload("/runs/import", file, size=size, content_type="application/gzip")

    def signal(self, run_id: str, name: str, payload: Any, *, key: str | None) -> View:
        headers = {"Idempotency-Key": key} if key is not None else None
        return self._client.post(
            f"/runs/{segment(run_id)}/signals/{segment(name)}", {"payload": payload}, headers=headers
        )

    def resolve(self, run_id: str, path: str, action: str, *, output: Any, message: str | None) -> View:
        body: View = {"action": action}
        body |= {"output": output} if output is not None else {}
        body |= {"message": message} if message is not None else {}
        return self._client.post(f"/runs/{segment(run_id)}/tasks/{quote(path)}/resolve", body)


class OfStore:
    """Runs of a store, without a server: what is changed is durable, and a worker of that store acts on it."""

    def __init__(self, service: Any, runner: asyncio.Runner) -> None:
        self._service = service
        self._run = runner.run

    @classmethod
    @contextlib.contextmanager
    def opened(cls, url: str) -> Generator["OfStore"]:
        """The runs of a store that exists.

        Raises:
            Refused: there is no such file. StoreError: it can't be used.
        """
        from orchestrator.cli.quickly import import_structlog, loaded

        import_structlog()
        from orchestrator.bootstrap import running
        from orchestrator.cli import log
        from orchestrator.config import Settings

        settings = Settings.load(store=url, log_level="warning")
        log.configure(settings)
        scheme, _, path = settings.store.partition(":///")
        if scheme == "sqlite" and path and not Path(path).is_file():
            raise Refused(
                f"there is no store at {settings.store}",
                exit=Exit.STORE,
                code="no_store",
                cure="`orchestrator dev` or `orchestrator run FILE --store URL` makes one; a relative path counts from "
                "the working directory",
            )
        loaded()
        with asyncio.Runner() as runner:
            stack = contextlib.AsyncExitStack()
            service = runner.run(stack.enter_async_context(running(settings, worker=False)))
            try:
                yield cls(service, runner)
            finally:
                runner.run(stack.aclose())

    def list(self, *, query: Mapping[str, Any]) -> View:
        from orchestrator.stores.contract import RunFilter

        where = RunFilter(
            statuses=tuple(query.get("status") or ()),
            workflow=query.get("workflow"),
            labels=dict(one.split(":", 1) for one in query.get("label") or ()),
            text=query.get("text") or "",
        )
        return self._run(
            self._service.list_runs(where, cursor=query.get("cursor"), limit=query.get("limit") or 100)
        )

    def get(self, run_id: str) -> View:
        return self._run(self._service.get_run(run_id))

    def tasks(self, run_id: str) -> Sequence[View]:
        from orchestrator.engine.views.tasktable import TaskFilter

        where = TaskFilter(items=False)
        return self._run(self._service.task_page(run_id, where=where, limit=sys.maxsize))["items"]

    def explain(self, run_id: str) -> View:
        return self._run(self._service.explain(run_id))

    def journal(self, run_id: str, *, after: int) -> Iterator[View]:
        position: int | None = after
        while position is not None:
            page = self._run(self._service.read_journal(run_id, after=position, limit=1000))
            yield from page["items"]
            position = int(page["next"]) if page["next"] is not None else None

    def follow(self, run_id: str, *, after: int) -> Iterator[Told]:
        feed = self._service.follow_run(run_id, after=after)
        try:
            while True:
                try:
                    item = self._run(anext(feed))
                except StopAsyncIteration:
                    return
                yield Told(item.event, item.data)
        finally:
            self._run(feed.aclose())

    def change(self, run_id: str, action: str, *, reason: str | None) -> View:
        return self._run(getattr(self._service, action)(run_id, reason=reason))

    def raise_budget(self, run_id: str, limits: Mapping[str, Any], *, reason: str | None) -> View:
        from orchestrator.model.durations import parse_duration

        given = dict(limits)
        if "duration" in given:
            try:
                given["duration_seconds"] = parse_duration(given.pop("duration"))
            except ValueError as error:
                raise Refused(str(error), exit=Exit.USAGE, code="usage") from None
        return self._run(self._service.raise_budget(run_id, reason=reason, **given))

    def fork(self, run_id: str, *, seq: int | None, patch: Mapping[str, Any], plan: bool) -> View:
        act = self._service.plan_fork if plan else self._service.fork
        return self._run(act(run_id, seq=seq, patch=patch))

    def export(self, run_id: str) -> Iterator[bytes]:
        pieces = self._service.export_run(run_id)
        try:
            while (piece := self._run(anext(pieces, None))) is not None:
                yield piece
        finally:
            self._run(pieces.aclose())

    def import_(self, file: BinaryIO) -> View:
        return self._run(self._service.import_run(file))

    def signal(self, run_id: str, name: str, payload: Any, *, key: str | None) -> View:
        return self._run(self._service.signal(run_id, name, payload, idempotency_key=key))

    def resolve(self, run_id: str, path: str, action: str, *, output: Any, message: str | None) -> View:
        return self._run(self._service.resolve(run_id, path, action, output=output, message=message))
