"""Workflows, versions, graphs and node classes as the API shows them. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.engine.runs.definitions import VersionRecord
from orchestrator.engine.views.runs import View
from orchestrator.kernel.values import rfc3339
from orchestrator.model.declarations import ANY, ClassDeclaration, find_class
from orchestrator.model.definition import Definition, NodeDefinition, build_graph, wire
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.graph import Graph
from orchestrator.model.reading import Syntax, read_source
from orchestrator.stores.contract import WorkflowRow, WorkflowVersion


def graph_view(definition: Definition) -> View:
    """The drawn form of a definition."""
    nodes = drawn_nodes(definition.nodes, definition.graph)
    return {"nodes": nodes, "edges": drawn_edges(definition.graph)}


def drawn_nodes(nodes: Mapping[str, NodeDefinition], graph: Graph) -> list[View]:
    """The nodes of a graph, of a version or of a plan."""
    ends = _ends(graph)
    return [
        {
            "id": node.id,
            "class": node.declaration.name,
            "decides": node.decides,
            "effect": node.effect.value,
            "join": node.is_join,
            "for_each": node.for_each is not None,
            "end": node.id in ends,
            "start": node.id == graph.start,
        }
        for node in nodes.values()
    ]


def sketch_view(document: WorkflowDocument, known: dict[str, ClassDeclaration]) -> View:
    """The drawn form of a document with faults, as far as it goes: unknown ids are left out.

    Raises:
        LimitExceeded: the graph has too many edges.
    """
    wiring = wire(document, known)
    graph = build_graph(document, wiring)
    nodes: list[View] = []
    for node, written in document.nodes.items():
        declaration = find_class(written.class_name, known)
        nodes.append(
            {
                "id": node,
                "class": declaration.name if declaration is not None else written.class_name,
                "decides": wiring.labels[node] is not None
                or (declaration is not None and declaration.decides),
                "effect": declaration.effect.value if declaration is not None else None,
                "join": graph.is_join(node),
                "for_each": written.for_each is not None,
                "end": node in _ends(graph),
                "start": node == document.start_at,
            }
        )
    return {"nodes": nodes, "edges": drawn_edges(graph)}


def _ends(graph: Graph) -> frozenset[str]:
    return frozenset(graph.ends) - graph.compensations


def drawn_edges(graph: Graph) -> list[View]:
    """The ways of a graph."""
    return [
        {
            "source": edge.source,
            "target": edge.target,
            "kind": edge.kind.value,
            "label": edge.label or None,
            "back": (edge.source, edge.target) in graph.back_edges,
        }
        for edge in graph.edges
    ]


def saved_view(version: WorkflowVersion, *, created: bool, hints: list[View]) -> View:
    """What saving a workflow answers."""
    return {
        "name": version.name,
        "version": version.version,
        "created_at": rfc3339(version.created_us),
        "created": created,
        "hints": hints,
        "hash": version.meaning,
    }


def version_view(version: WorkflowVersion) -> View:
    """A line in the list of versions."""
    return {
        "version": version.version,
        "created_at": rfc3339(version.created_us),
        "hash": version.meaning,
    }


def workflow_view(
    version: WorkflowVersion, definition: Definition, *, versions: int, hints: list[View]
) -> View:
    """One version, whole."""
    text = version.text.decode("utf-8-sig")
    document, syntax = _read_again(text)
    return {
        "name": version.name,
        "version": version.version,
        "versions": versions,
        "document": document,
        "text": text,
        "syntax": syntax,
        "graph": graph_view(definition),
        "created_at": rfc3339(version.created_us),
        "updated_at": rfc3339(version.saved_us),
        "hints": hints,
        "hash": version.meaning,
    }


def _read_again(text: str) -> tuple[Any, Syntax]:
    """A text that was checked when it was saved, and how it is written."""
    try:
        return msgspec.json.decode(text), "json"
    except msgspec.DecodeError:
        source = read_source(text, syntax="yaml")
        return source.document, source.syntax


def workflow_summary(row: WorkflowRow, record: VersionRecord, *, last_run: View | None) -> View:
    """A line in the list of workflows."""
    return {
        "name": row.name,
        "version": row.current,
        "versions": row.versions,
        "description": record.description or None,
        "labels": dict(record.labels),
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.saved_us),
        "last_run": last_run,
    }


def class_view(declaration: ClassDeclaration) -> View:
    """A node class."""
    return {
        "name": declaration.name,
        "title": declaration.title,
        "summary": declaration.summary,
        "description": declaration.description,
        "family": declaration.family,
        "icon": declaration.icon or None,
        "effect": declaration.effect.value,
        "routes": _names(declaration.routes),
        "may_use": _names(declaration.may_use),
        "max_nodes": declaration.max_nodes if declaration.plans else None,
        "decides": declaration.decides,
        "class_version": declaration.class_version,
        "params_schema": declaration.params_schema,
        "output_schema": declaration.output_schema,
        "deterministic": None,
    }


def _names(declared: tuple[str, ...] | None) -> list[str] | str | None:
    return None if declared is None else ANY if declared == (ANY,) else list(declared)
