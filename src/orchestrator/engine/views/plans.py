"""The plans of a run as observers see them: what was laid, by whom, and the graph that it grafted to the run."""

from itertools import islice

from orchestrator.engine.views.runs import View
from orchestrator.engine.views.tasklog import LaidPlan, TaskLog
from orchestrator.engine.views.workflows import drawn_edges, drawn_nodes
from orchestrator.model.grafts import compile_block, record_of


def plan_views(log: TaskLog, *, start: int, limit: int) -> list[View]:
    """Plans of the run from place `start` on, in the order in which they were laid."""
    return [_plan_view(log, path, laid) for path, laid in islice(log.laid.items(), start, start + limit)]


def _plan_view(log: TaskLog, path: str, laid: LaidPlan) -> View:
    plan = laid.plan
    document, block = record_of(plan).document, compile_block(path, plan.record)
    task = log.tasks[path]
    return {
        "path": path,
        "node": task.node,
        "seq": laid.seq,
        "at": laid.at,
        "reason": laid.reason,
        "done": task.over or not task.block,
        "start_at": plan.start_at,
        "nodes": document["nodes"],
        "output": document.get("output"),
        "graph": {"nodes": drawn_nodes(block.nodes, block.graph), "edges": drawn_edges(block.graph)},
    }
