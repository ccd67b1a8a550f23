"""When are two documents the same version? When they mean the same.

Neither the canvas (`positions`), nor notes (`x-*`), nor spelling (`"30s"` or 30, a class with or without `Node`, a
default written out) changes what a workflow means. The order of its nodes does, and so does what its classes declare.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import DefinitionError
from orchestrator.model.declarations import ASK, ClassDeclaration, find_class
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.joins import join_rule, join_written
from orchestrator.model.limits import DEFAULT_LIMITS, DEFAULT_QUEUE
from orchestrator.model.nearest import Nearest
from orchestrator.model.shape import read_shape


def meaning_hash(
    document: Mapping[str, Any] | WorkflowDocument, declarations: Mapping[str, ClassDeclaration]
) -> str:
    """The SHA-256, in hex, of what a document means with these declarations.

    Raises:
        DefinitionError: the document has faults of shape, so that it means nothing.
    """
    canonical = json.dumps(
        _meaning(document, declarations),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _meaning(
    document: Mapping[str, Any] | WorkflowDocument, declarations: Mapping[str, ClassDeclaration]
) -> dict[str, Any]:
    if not isinstance(document, WorkflowDocument):
        shape = read_shape(document, limits=DEFAULT_LIMITS, nearest=Nearest())
        if shape.faults or shape.document is None:
            raise DefinitionError(shape.faults)
        document = shape.document
    dumped = document.model_dump(by_alias=True, exclude={"positions", "nodes"}, exclude_defaults=True)
    for name, default in (("on_failure", "stop"), ("on_parent_cancel", "cancel")):
        if dumped.get(name) == default:
            del dumped[name]
    if not dumped.get("budget"):
        dumped.pop("budget", None)
    if document.has_output:
        dumped["output"] = document.output
    nodes: list[list[Any]] = []
    used: dict[str, list[Any]] = {}
    for node, written in document.nodes.items():
        entry = written.model_dump(by_alias=True, exclude_defaults=True)
        if not entry.get("retry"):
            entry.pop("retry", None)
        entry.pop("join", None)
        if (join := join_written(join_rule(written.join))) is not None:
            entry["join"] = join
        if not entry.get("cancels"):
            entry.pop("cancels", None)
        if entry.get("queue") == DEFAULT_QUEUE:
            del entry["queue"]
        declaration = find_class(written.class_name, declarations)
        if declaration is not None:
            entry["class"] = declaration.name
            routes = None if declaration.routes is None else list(declaration.routes)
            used[declaration.name] = [declaration.class_version, declaration.effect.value, routes]
            if declaration.on_doubt != ASK:
                used[declaration.name].append(declaration.on_doubt)
            if declaration.may_use is not None:
                used[declaration.name].append([*declaration.may_use, declaration.max_nodes])
            for name, default in (
                ("effect", declaration.effect.value),
                ("on_doubt", declaration.on_doubt),
                ("may_use", list(declaration.may_use or ())),
                ("max_nodes", declaration.max_nodes),
            ):
                if entry.get(name) == default:
                    del entry[name]
        nodes.append([node, entry])
    # A list, since the keys of objects are sorted and the order of nodes counts.
    dumped["nodes"] = nodes
    return {"document": dumped, "classes": used}
