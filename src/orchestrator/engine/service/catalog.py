"""Workflows and their versions, as people save, look up and delete them. Part of the `Service`."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from orchestrator.engine.engine import Engine
from orchestrator.engine.runs.definitions import decode_record
from orchestrator.engine.service import documents
from orchestrator.engine.views import workflows as workflow_views
from orchestrator.engine.views.runs import View, fault_view
from orchestrator.errors import NotFound
from orchestrator.model.nearest import Nearest
from orchestrator.model.reading import Syntax
from orchestrator.stores.contract import RunFilter, RunRow, WorkflowVersion

HINTS_CACHED_MAX = 256
NAMES_COMPARED_MAX = 1_000


class Catalog:
    """The workflows of one namespace. `summarise` makes the view of a run's line."""

    def __init__(
        self, engine: Engine, *, namespace: str, summarise: Callable[[RunRow], Awaitable[View]]
    ) -> None:
        self._engine = engine
        self._store = engine.store
        self._namespace = namespace
        self._summarise = summarise
        self._hints: OrderedDict[tuple[str, int], list[View]] = OrderedDict()

    async def save(self, text: bytes, *, namespace: str, syntax: Syntax) -> View:
        """See `Service.save_workflow`."""
        known = self._engine.registry.declarations()
        accepted = await documents.aside(text, lambda: documents.accept(text, known, syntax=syntax))
        version, created = await self._store.save_version(
            accepted.name, meaning=accepted.meaning, text=text, record=accepted.record, namespace=namespace
        )
        hints = [fault_view(hint) for hint in accepted.hints]
        if namespace == self._namespace:
            self._remember(version, hints)
        return workflow_views.saved_view(version, created=created, hints=hints)

    async def validate(self, text: bytes, *, syntax: Syntax) -> View:
        """See `Service.validate_workflow`."""
        known = self._engine.registry.declarations()
        return await documents.aside(text, lambda: documents.validate(text, known, syntax=syntax))

    async def list(self, *, text: str, limit: int, cursor: str | None) -> View:
        """See `Service.list_workflows`."""
        page = await self._store.list_workflows(
            namespace=self._namespace, text=text, limit=limit, cursor=cursor
        )
        items: list[View] = []
        for row in page.items:
            where = RunFilter(namespace=self._namespace, workflow=row.name)
            runs = await self._store.list_runs(where, limit=1)
            last_run = await self._summarise(runs.items[0]) if runs.items else None
            items.append(workflow_views.workflow_summary(row, decode_record(row.record), last_run=last_run))
        return {"items": items, "next": page.cursor}

    async def get(self, name: str, version: int | None) -> View:
        """See `Service.get_workflow`."""
        row = await self.version(name, version)
        definition = await self._engine.definitions.get(name, row.version, namespace=self._namespace)
        hints = self._hints.get((row.name, row.version))
        if hints is None:
            record = decode_record(row.record)
            hints = await documents.aside(row.text, lambda: documents.hints_of(record))
            self._remember(row, hints)
        versions = await self._store.list_versions(name, namespace=self._namespace)
        found = hints
        return await documents.aside(
            row.text,
            lambda: workflow_views.workflow_view(row, definition, versions=len(versions), hints=found),
        )

    async def versions(self, name: str) -> "list[View]":
        """See `Service.list_versions`."""
        await self.version(name, None)
        rows = await self._store.list_versions(name, namespace=self._namespace)
        return [workflow_views.version_view(row) for row in rows]

    async def delete(self, name: str) -> None:
        """See `Service.delete_workflow`."""
        if not await self._store.delete_workflow(name, namespace=self._namespace):
            raise await self._unknown(name)

    async def version(self, name: str, version: int | None) -> WorkflowVersion:
        """A version, by default the current one.

        Raises:
            NotFound: there is no such workflow (the nearest name is suggested), or no such version of it.
        """
        row = await self._store.get_version(name, version, namespace=self._namespace)
        if row is not None:
            return row
        if version is None or await self._store.get_version(name, namespace=self._namespace) is None:
            raise await self._unknown(name)
        raise NotFound("workflow version", f"{name} {version}")

    async def _unknown(self, name: str) -> NotFound:
        page = await self._store.list_workflows(namespace=self._namespace, limit=NAMES_COMPARED_MAX)
        near = Nearest().find(name, tuple(row.name for row in page.items))
        return NotFound("workflow", name, suggestion=near)

    def _remember(self, version: WorkflowVersion, hints: "list[View]") -> None:
        self._hints[(version.name, version.version)] = hints
        if len(self._hints) > HINTS_CACHED_MAX:
            self._hints.popitem(last=False)
