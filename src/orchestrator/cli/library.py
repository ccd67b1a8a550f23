"""`validate` and `nodes`: what documents may say here, and whether they do. No store is opened."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.bootstrap import load_registry
from orchestrator.cli import console, log, quickly
from orchestrator.cli.exits import Exit
from orchestrator.config import Settings
from orchestrator.engine.service import documents
from orchestrator.engine.views.workflows import class_view
from orchestrator.errors import NotFound
from orchestrator.model.nearest import Nearest


def validate(files: Sequence[str], settings: Settings, *, as_json: bool) -> Exit:
    """Say what is wrong with each document.

    Raises:
        Refused: a file can't be read. UsageError: a module of node classes can't be loaded.
    """
    log.configure(settings)
    known = load_registry(settings).declarations()
    quickly.loaded()
    reports: list[dict[str, Any]] = []
    for file in files:
        raw = console.read_bytes(file, what="FILE")
        reports.append({"file": file, **documents.validate(raw, known, syntax=console.syntax_of(file))})
    valid = all(report["valid"] for report in reports)
    if as_json:
        console.say_json({"valid": valid, "files": reports})
    else:
        for report in reports:
            _say_report(report)
    return Exit.OK if valid else Exit.FAILED


def _say_report(report: Mapping[str, Any]) -> None:
    faults, hints = report["faults"], report["hints"]
    name = console.clean(report["file"])
    if report["valid"]:
        nodes = len(report["graph"]["nodes"]) if report["graph"] else 0
        console.say(f"{name}: good ({nodes} nodes{_count(hints, 'hint', before=', ')})")
    else:
        console.say(f"{name}: {_count(faults, 'fault')}{_count(hints, 'hint', before=', ')}")
    for line in (*console.fault_lines(faults), *console.fault_lines(hints, mark="hint: ")):
        console.say(f"  {line}")


def _count(things: Sequence[Any], noun: str, *, before: str = "") -> str:
    if not things:
        return ""
    return f"{before}{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def nodes(name: str | None, settings: Settings, *, as_json: bool) -> None:
    """List the node classes, or show one.

    Raises:
        NotFound: there is no such class. UsageError: a module of node classes can't be loaded.
    """
    log.configure(settings)
    registry = load_registry(settings)
    views = sorted(
        map(class_view, registry.declarations().values()), key=lambda one: (one["family"], one["name"])
    )
    if name is None:
        if as_json:
            console.say_json({"items": views, "next": None})
        else:
            _say_library(views)
        return
    if name not in registry:
        names = tuple(view["name"] for view in views)
        raise NotFound("node class", name, suggestion=Nearest().find(name, names))
    view = class_view(registry.get(name).declaration())
    if as_json:
        console.say_json(view)
    else:
        _say_class(view)


def _say_library(views: Sequence[Mapping[str, Any]]) -> None:
    width = max((len(view["name"]) for view in views), default=0)
    family = None
    for view in views:
        if view["family"] != family:
            family = view["family"]
            console.say(f"{family}" if view is views[0] else f"\n{family}")
        decides = "  (decides)" if view["decides"] else ""
        console.say(
            f"  {view['name']:{width}}  {view['effect']:12}  {console.clean(view['summary'])}{decides}"
        )
    console.say("\norchestrator nodes NAME shows one with its parameters.")


def _say_class(view: Mapping[str, Any]) -> None:
    console.say(
        f"{view['name']}  ({view['family']}, effect {view['effect']}, class version {view['class_version']})"
    )
    for text in (view["summary"], view["description"]):
        if text:
            console.say("\n" + textwrap.indent(console.clean(text), "  "))
    if view["decides"]:
        routes = view["routes"]
        told = "any node" if routes == "*" else ", ".join(routes) if routes else "what its document names"
        console.say(f"\n  routes: {told}")
    if view["may_use"]:
        usable = "any class" if view["may_use"] == "*" else ", ".join(view["may_use"])
        console.say(f"\n  lays plans of at most {view['max_nodes']:,} nodes, of {usable}")
    schema: Mapping[str, Any] = view["params_schema"] or {}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    console.say("\n  params:" if properties else "\n  no params")
    for name, field in properties.items():
        console.say(f"    {name}: {_kind(field)}{_default(field, name in schema.get('required', ()))}")
        if field.get("description"):
            console.say(f"        {console.clean(field['description'])}")


def _kind(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(json.dumps(one) for one in field["enum"])
    options: Sequence[Mapping[str, Any]] = field.get("anyOf") or field.get("oneOf") or ()
    if options:
        return " | ".join(dict.fromkeys(_kind(option) for option in options))
    kind: str | Sequence[str] = field.get("type", "any")
    return kind if isinstance(kind, str) else " | ".join(kind)


def _default(field: Mapping[str, Any], required: bool) -> str:
    if required:
        return ", required"
    return f", default {json.dumps(field['default'], ensure_ascii=False)}" if "default" in field else ""
