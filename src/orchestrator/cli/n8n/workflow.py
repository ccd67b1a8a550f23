"""A whole workflow of n8n as a document of ours, and everything that isn't in it the way it was.

In n8n every arrival runs a node once, which is `join: each` here; a merge waits for what can still come, which is the
default join.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.cli.n8n.expressions import Unmapped
from orchestrator.cli.n8n.nodes import Mapped, inner, is_trigger, map_node
from orchestrator.errors import UsageError
from orchestrator.model.plain import is_array, is_dict

NODES_MAX = 5_000
LOOP = "splitInBatches"
"""It has no class, but two ways out: without the one for when the items are done, its loop would have no exit."""
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.:-]+", re.ASCII)
_KEPT = (
    "type",
    "typeVersion",
    "parameters",
    "credentials",
    "notes",
    "webhookId",
    "executeOnce",
    "alwaysOutputData",
)


class Finding(NamedTuple):
    """One thing that isn't as it was: `kind` is `class`, `expression`, `left_out` or `difference`."""

    node: str
    id: str | None
    kind: str
    why: str
    cure: str

    @property
    def blocks(self) -> bool:
        """Whether the document is refused until somebody has mended it."""
        return self.kind in ("class", "expression")


class Imported(NamedTuple):
    """The document, and what isn't in it the way it was."""

    document: dict[str, Any]
    findings: list[Finding]


@dataclass
class _Node:
    """One node on its way."""

    written: Mapping[str, Any]
    id: str
    kind: str
    mapped: Mapped | None
    ways: dict[int, list[str]]
    error: list[str]


def import_workflow(exported: Any) -> Imported:
    """The document for an export.

    Raises:
        UsageError: it isn't an export of one n8n workflow.
    """
    if is_array(exported) and len(exported) == 1:
        exported = exported[0]
    if (
        not is_dict(exported)
        or not is_array(exported.get("nodes"))
        or not is_dict(exported.get("connections", {}))
    ):
        raise UsageError(
            "this is no export of one n8n workflow: it is a JSON object with `nodes` (a list) and `connections`"
        )
    if len(exported["nodes"]) > NODES_MAX:
        raise UsageError(f"the export has {len(exported['nodes']):,} nodes; at most {NODES_MAX:,} are taken")
    return _Import(exported).done()


class _Import:
    def __init__(self, exported: Mapping[str, Any]) -> None:
        self.exported = exported
        self.findings: list[Finding] = []
        self.nodes: dict[str, _Node] = {}
        self.ids: dict[str, str] = {}
        self.notes: list[str] = []
        self.extra: dict[str, Any] = {}
        self.taken: set[str] = set()

    def done(self) -> Imported:
        written = [node for node in self.exported["nodes"] if is_dict(node) and node.get("name")]
        parts = self._parts()
        for node in written:
            name, kind = str(node["name"]), _kind(node)
            if kind == "stickyNote":
                self._leave_note(node)
            elif name in parts and not self._leads(name):
                where = ", ".join(parts[name])
                cure = f"it is kept in `x-n8n` of {where}"
                self.findings.append(
                    Finding(name, None, "left_out", f"it is a part ({kind}) of {where}", cure)
                )
            else:
                self.ids[name] = self._fresh(name)
        for node in written:
            if str(node["name"]) in self.ids:
                self._take(node)
        for node in self.nodes.values():
            self._lead(node)
        ins = self._ways_in()
        start = self._start()
        nodes = {
            node.id: self._node(node, parts, several=len(ins.get(node.id, ())) > 1)
            for node in self.nodes.values()
        }
        nodes = {**self.extra, **nodes} if start in self.extra else {**nodes, **self.extra}
        return Imported(self._document(start, nodes), sorted(self.findings, key=lambda one: not one.blocks))

    # --- what there is ----------------------------------------------------------------------------------------------

    def _fresh(self, name: str) -> str:
        base = _NOT_IN_IDS.sub("_", name).strip("_")[:100] or "node"
        made, number = base, 2
        while made in self.taken:
            made, number = f"{base}_{number}", number + 1
        self.taken.add(made)
        return made

    def _outputs(self, name: str, kind: str = "main") -> list[list[str]]:
        """By port, the names of the nodes that it leads to."""
        of_node: Any = self.exported.get("connections", {}).get(name)
        ports: Any = of_node.get(kind) if is_dict(of_node) else None
        found: list[list[str]] = []
        for port in ports if is_array(ports) else ():
            ends = [str(end.get("node")) for end in port if is_dict(end)] if is_array(port) else []
            found.append(list(dict.fromkeys(ends)))
        return found

    def _leads(self, name: str) -> bool:
        return any(self._outputs(name)) or any(
            name in port for other in self.exported.get("connections", {}) for port in self._outputs(other)
        )

    def _parts(self) -> dict[str, list[str]]:
        """Nodes that are parts of others (models, tools, memories), with the nodes that they belong to."""
        found: dict[str, list[str]] = {}
        for name, kinds in self.exported.get("connections", {}).items():
            for kind in kinds if is_dict(kinds) else ():
                if kind != "main":
                    ends = [end for port in self._outputs(name, kind) for end in port]
                    found.setdefault(name, []).extend(ends)
        return found

    def _leave_note(self, node: Mapping[str, Any]) -> None:
        content = str(inner(node, "parameters").get("content", ""))
        self.notes.append(content)
        self.findings.append(
            Finding(str(node["name"]), None, "left_out", "it is a note", "its text is in `x-n8n-notes`")
        )

    def _take(self, node: Mapping[str, Any]) -> None:
        name, kind = str(node["name"]), _kind(node)
        parameters: Any = node.get("parameters")
        version: Any = node.get("typeVersion", 1)
        mapped: Mapped | None = None
        try:
            mapped = map_node(
                kind,
                float(version) if isinstance(version, int | float) else 1.0,
                parameters if is_dict(parameters) else {},
                self.ids,
            )
        except (Unmapped, AttributeError, TypeError, ValueError) as why:
            reason = str(why) if isinstance(why, Unmapped) else f"its parameters can't be read ({why})"
            cure = "write a node class for it (docs/authoring-nodes.md), or put pre-built ones in its place"
            self._find(name, "class", reason, cure)
        else:
            for text, why_not in mapped.unmapped:
                shown = text if len(text) <= 200 else text[:200] + "…"
                cure = "write it as an expression of ours (docs/document.md), or compute it in a node"
                self._find(name, "expression", f"{shown}: {why_not}", cure)
            for note in mapped.notes:
                self._find(name, "difference", note, "look whether that matters here")
        self.nodes[name] = _Node(node, self.ids[name], kind, mapped, {}, [])

    def _find(self, name: str, kind: str, why: str, cure: str) -> None:
        self.findings.append(Finding(name, self.ids.get(name), kind, why, cure))

    # --- where it leads -----------------------------------------------------------------------------------------------

    def _lead(self, node: _Node) -> None:
        name = str(node.written["name"])
        outputs = self._outputs(name)
        for place, ends in enumerate(outputs):
            known = [self.ids[end] for end in ends if end in self.ids]
            for end in ends:
                if end not in self.ids:
                    self._find(
                        name, "left_out", f"it leads to {end!r}, which isn't there", "lead it elsewhere"
                    )
            node.ways[place] = known
        policy = node.written.get(
            "onError", "continueRegularOutput" if node.written.get("continueOnFail") else ""
        )
        if policy == "continueErrorOutput" and outputs:
            last = (
                max(1, len(node.mapped.ports or [])) if node.mapped is not None else max(1, len(outputs) - 1)
            )
            node.error = node.ways.pop(last, [])
        elif policy == "continueRegularOutput":
            node.error = node.ways.get(0, [])

    def _ways_in(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for node in self.nodes.values():
            for ends in (*node.ways.values(), node.error):
                for end in ends:
                    found.setdefault(end, set()).add(node.id)
        return found

    def _start(self) -> str:
        triggers = [node for node in self.nodes.values() if is_trigger(node.kind)]
        led_to = self._ways_in()
        roots = triggers or [node for node in self.nodes.values() if node.id not in led_to]
        if not roots:
            roots = list(self.nodes.values())[:1]
        if not roots:
            raise UsageError("the export has no nodes that run")
        if len(roots) == 1 or not triggers:
            return roots[0].id
        start = self._fresh("start")
        cases = {node.id: node.id for node in roots}
        self.extra[start] = {
            "class": "Switch",
            "description": "Which of the triggers of n8n this run stands for: `trigger` of its input.",
            "params": {"value": "{{ input.trigger | default(none) }}", "cases": cases},
            "next_node": {**{node.id: node.id for node in roots}, "*": roots[0].id},
        }
        names = ", ".join(f"`{node.id}`" for node in roots)
        why = (
            f"{len(roots)} triggers: a run's input names one in `trigger` ({names}), else the first is taken"
        )
        self.findings.append(Finding("(workflow)", start, "difference", why, "start the runs so"))
        return start

    # --- the document -----------------------------------------------------------------------------------------------

    def _node(self, node: _Node, parts: Mapping[str, Sequence[str]], *, several: bool) -> dict[str, Any]:
        written, mapped = node.written, node.mapped
        made: dict[str, Any] = {"class": mapped.class_name if mapped is not None else f"n8n.{node.kind}"}
        if written.get("notes"):
            made["description"] = str(written["notes"])
        if mapped is not None and mapped.params:
            made["params"] = mapped.params
        next_node = self._next(node)
        if next_node is not None:
            made["next_node"] = next_node
        if several and node.kind != "merge":
            made["join"] = "each"
        if written.get("disabled"):
            made["when"] = False
        if written.get("retryOnFail"):
            wait = written.get("waitBetweenTries", 1000)
            made["retry"] = {
                "max_attempts": int(written.get("maxTries", 3)),
                "initial": f"{int(wait)}ms",
                "multiplier": 1.0,
                "jitter": 0.0,
            }
        elif made["class"] in ("SubWorkflow",):
            made["retry"] = {"max_attempts": 1}
        if node.error:
            made["on_error"] = node.error[0] if len(node.error) == 1 else self._spread(node)
        if mapped is None or mapped.unmapped:
            kept: dict[str, Any] = {
                key: written[key] for key in _KEPT if written.get(key) not in (None, {}, "")
            }
            name = str(written["name"])
            own = [
                other
                for other in self.exported["nodes"]
                if is_dict(other) and name in parts.get(str(other.get("name")), ())
            ]
            if own:
                kept["parts"] = [{key: part[key] for key in ("name", *_KEPT) if key in part} for part in own]
            made["x-n8n"] = kept
        return made

    def _next(self, node: _Node) -> Any:
        labels = node.mapped.ports if node.mapped is not None else None
        if node.kind == LOOP:
            later: Any = node.written.get("typeVersion", 1)
            labels = ["done", "loop"] if isinstance(later, int | float) and later >= 3 else ["loop", "done"]
        if labels is None:
            if node.mapped is None and len([ends for ends in node.ways.values() if ends]) > 1:
                return {str(place): _one(ends) for place, ends in node.ways.items() if ends}
            ends = list(dict.fromkeys(end for port in node.ways.values() for end in port))
            return _one(ends) if ends else None
        made: dict[str, Any] = {}
        for place, label in enumerate(labels):
            ends = node.ways.get(place, [])
            made[label] = _one(ends) if ends else self._end()
        rest = node.mapped.rest if node.mapped is not None else None
        if rest is not None:
            made["*"] = made[rest] if rest in made else self._end()
        return made

    def _end(self) -> str:
        """The node where ways end that lead nowhere in n8n."""
        for node, made in self.extra.items():
            if made["class"] == "End":
                return node
        end = self._fresh("end")
        self.extra[end] = {"class": "End", "join": "each"}
        return end

    def _spread(self, node: _Node) -> str:
        """A node that leads an error on to several."""
        made = self._fresh(f"{node.id}_failed")
        self.extra[made] = {"class": "Set", "next_node": node.error}
        return made

    def _document(self, start: str, nodes: dict[str, Any]) -> dict[str, Any]:
        name = str(self.exported.get("name") or "Imported workflow").replace("/", "-")
        name = "".join(c for c in name if c.isprintable())[:200].strip() or "Imported workflow"
        positions: dict[str, Any] = {}
        for node in self.nodes.values():
            place: Any = node.written.get("position")
            if is_array(place) and len(place) == 2 and all(isinstance(at, int | float) for at in place):
                positions[node.id] = {"x": place[0], "y": place[1]}
        document: dict[str, Any] = {"name": name, "start_at": start, "nodes": nodes}
        if positions:
            document["positions"] = positions
        if self.notes:
            document["x-n8n-notes"] = self.notes
        for key, cure in (
            ("settings", "they are kept in `x-n8n`"),
            ("pinData", "use it in a test, as a stand-in's answers"),
        ):
            if self.exported.get(key):
                self.findings.append(
                    Finding("(workflow)", None, "left_out", f"its `{key}` aren't mapped", cure)
                )
        if self.exported.get("settings"):
            document["x-n8n"] = {"settings": self.exported["settings"]}
        return document


def _one(ends: list[str]) -> str | list[str]:
    return ends[0] if len(ends) == 1 else ends


def _kind(node: Mapping[str, Any]) -> str:
    """The type without its package: `n8n-nodes-base.set` is `set`, another package's is whole."""
    kind = str(node.get("type", ""))
    return kind.removeprefix("n8n-nodes-base.") or "unknown"
