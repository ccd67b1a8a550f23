"""A service with the shapes of the real one and nothing behind it, to test routing, problems, security and streams."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engine.views.feeds import FeedItem
from orchestrator.engine.views.tasktable import TaskFilter
from orchestrator.errors import NotFound
from orchestrator.stores.contract import RunFilter

AT = "2026-11-22T16:00:00.123456Z"
COUNTS = ("total", "completed", "failed", "skipped", "running", "waiting", "in_doubt", "ready", "cancelled")


def run_view(run_id: str, **changed: Any) -> dict[str, Any]:
    """A run as the API shows it."""
    return {
        "id": run_id,
        "workflow": "w",
        "version": 1,
        "status": "running",
        "input": None,
        "output": None,
        "error": None,
        "labels": {},
        "created_at": AT,
        "started_at": AT,
        "finished_at": None,
        "parent": None,
        "forked_from": None,
        "continues": None,
        "continued_as": None,
        "cancelled_for": None,
        "imported": None,
        "compensation": None,
        "waiting_for": None,
        "seq": 3,
        "tasks": dict.fromkeys(COUNTS, 0),
        "duration_us": None,
        "budget": {
            "tasks": {"used": 1, "limit": 1_000_000},
            "duration_us": {"used": 12, "limit": 31_622_400_000_000},
            "tokens": {"used": 0, "reserved": 0, "limit": None},
            "cost_usd": {"used": 0.0, "reserved": 0.0, "limit": None},
        },
        **changed,
    }


@dataclass
class FakeService:
    """Knows one run, `r1`, and notes what it is asked. `raises` is raised by the next call."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    raises: BaseException | None = None
    started: dict[str, str] = field(default_factory=dict[str, str])
    feed: list[FeedItem] = field(default_factory=list[FeedItem])
    feeds_closed: int = 0

    def _note(self, name: str, /, **arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.raises is not None:
            raise self.raises

    async def save_workflow(self, text: bytes, *, syntax: str) -> dict[str, Any]:
        self._note("save_workflow", text=text, syntax=syntax)
        return {"name": "w", "version": 1, "created_at": AT, "created": True, "hints": [], "hash": "h"}

    async def validate_workflow(self, text: bytes, *, syntax: str) -> dict[str, Any]:
        self._note("validate_workflow", text=text, syntax=syntax)
        return {"valid": True, "faults": [], "hints": [], "graph": None, "document": None}

    async def list_workflows(self, **asked: Any) -> dict[str, Any]:
        self._note("list_workflows", **asked)
        return {"items": [], "next": None}

    async def get_workflow(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        self._note("get_workflow", name=name, version=version)
        raise NotFound("workflow", name)

    async def delete_workflow(self, name: str) -> None:
        self._note("delete_workflow", name=name)

    async def start_run(
        self, workflow: str, *, idempotency_key: str | None = None, **asked: Any
    ) -> tuple[dict[str, Any], bool]:
        self._note("start_run", workflow=workflow, idempotency_key=idempotency_key, **asked)
        return run_view("r1", input=asked["input"]), idempotency_key not in self.started

    async def list_runs(self, where: RunFilter, *, cursor: str | None, limit: int) -> dict[str, Any]:
        self._note("list_runs", where=where, cursor=cursor, limit=limit)
        return {"items": [run_view("r1")], "next": "more"}

    async def get_run(self, run_id: str) -> dict[str, Any]:
        self._note("get_run", run_id=run_id)
        if run_id != "r1":
            raise NotFound("run", run_id)
        return run_view(run_id)

    async def task_page(self, run_id: str, *, where: TaskFilter, start: int, limit: int) -> dict[str, Any]:
        self._note("task_page", run_id=run_id, where=where, start=start, limit=limit)
        end = start + limit
        found = [{"path": f"n@{number}"} for number in range(start, min(end, 5))]
        return {"items": found, "next": end if end < 5 else None}

    async def list_plans(self, run_id: str, *, start: int, limit: int) -> dict[str, Any]:
        self._note("list_plans", run_id=run_id, start=start, limit=limit)
        return {"items": [{"path": "n@7"}], "next": "8"}

    async def get_task(self, run_id: str, path: str) -> dict[str, Any]:
        self._note("get_task", run_id=run_id, path=path)
        return {"path": path}

    async def resolve(self, run_id: str, path: str, action: str, **asked: Any) -> dict[str, Any]:
        self._note("resolve", run_id=run_id, path=path, action=action, **asked)
        return run_view(run_id)

    async def read_journal(self, run_id: str, **asked: Any) -> dict[str, Any]:
        self._note("read_journal", run_id=run_id, **asked)
        return {"items": [], "next": None}

    async def pause(self, run_id: str, *, reason: str | None) -> dict[str, Any]:
        self._note("pause", run_id=run_id, reason=reason)
        return run_view(run_id, status="paused")

    async def raise_budget(self, run_id: str, *, reason: str | None, **limits: Any) -> dict[str, Any]:
        self._note("raise_budget", run_id=run_id, reason=reason, **limits)
        return run_view(run_id)

    async def plan_fork(self, run_id: str, *, seq: int | None, patch: dict[str, Any]) -> dict[str, Any]:
        self._note("plan_fork", run_id=run_id, seq=seq, patch=patch)
        return {"run": run_id}

    async def fork(self, run_id: str, *, seq: int | None, patch: dict[str, Any]) -> dict[str, Any]:
        self._note("fork", run_id=run_id, seq=seq, patch=patch)
        return run_view("r2", forked_from={"run": run_id, "seq": seq})

    async def signal(
        self, run_id: str, name: str, payload: Any, *, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        self._note("signal", run_id=run_id, name=name, payload=payload, idempotency_key=idempotency_key)
        return {"run": run_id, "name": name, "seq": 4}

    async def ready(self) -> dict[str, Any]:
        self._note("ready")
        return {"ready": False, "checks": {"claimed": {"ok": False}}}

    async def system(self) -> dict[str, Any]:
        self._note("system")
        return {"version": "0", "store": "memory:", "workers": [], "dev": False, "started_at": AT}

    async def follow_run(self, run_id: str, *, after: int) -> AsyncGenerator[FeedItem]:
        self._note("follow_run", run_id=run_id, after=after)
        try:
            for item in self.feed:
                yield item
        finally:
            self.feeds_closed += 1
