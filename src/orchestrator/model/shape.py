"""The first half of the checks: is every part of the document of the right shape?

`read_shape` finds every fault of shape and also gives a document that is whole: what was wrong is left out or stands in
under a name that can't be meant (`PLACEHOLDER`), so that the second half can still look at everything else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Fault
from orchestrator.model import refused
from orchestrator.model.document import (
    ID_RULE,
    JOIN_COUNT_MAX,
    BudgetDocument,
    CacheDocument,
    JoinDocument,
    LimitDocument,
    NodeDocument,
    RetryDocument,
    WorkflowDocument,
    is_id,
)
from orchestrator.model.limits import Limits
from orchestrator.model.nearest import Nearest, did_you_mean, shorten
from orchestrator.model.plain import is_array, is_dict, kind_of
from orchestrator.model.pointers import join_pointer

PLACEHOLDER = "\0"
"""Stands where a name is missing; no document can hold it."""
_JOINS = ("all", "any", "each", "one_of_each")
_LABEL_LENGTH_MAX = 128
_WAY = re.compile(
    r"^/start_at|^/nodes/[^/]*(?:/(?:next_node|routes|on_error|compensate|class).*)?$", re.DOTALL
)
_LABEL_VALUE_MAX = 1000


@dataclass(kw_only=True)
class Shape:
    """What `read_shape` found: the faults, and a document to go on with (None if there is nothing to go on with)."""

    document: WorkflowDocument | None = None
    faults: list[Fault] = field(default_factory=list[Fault])

    @property
    def leads_astray(self) -> bool:
        """Whether a way from node to node may have been left out, so that nobody can say what leads nowhere."""
        return any(_WAY.search(fault.pointer) or fault.pointer == "" for fault in self.faults)


def read_shape(written: Mapping[str, Any], *, limits: Limits, nearest: Nearest) -> Shape:
    """Check the shape of a document that is plain JSON data."""
    reader = _Reader(limits, nearest)
    cleaned = reader.read_workflow(written)
    return Shape(document=reader.validate(cleaned), faults=reader.faults)


def field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a model as they are written."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


class _Reader:
    def __init__(self, limits: Limits, nearest: Nearest) -> None:
        self.limits = limits
        self.nearest = nearest
        self.faults: list[Fault] = []
        self._workflow = (*field_names(WorkflowDocument), *refused.WORKFLOW_FIELDS)
        self._node = (*field_names(NodeDocument), *refused.NODE_FIELDS)
        self._retry = field_names(RetryDocument)
        self._limit = field_names(LimitDocument)
        self._cache = field_names(CacheDocument)
        self._budget = field_names(BudgetDocument)

    def fault(self, pointer: str, code: str, message: str, suggestion: str | None = None) -> None:
        self.faults.append(Fault(pointer=pointer, code=code, message=message, suggestion=suggestion))

    def read_workflow(self, written: Mapping[str, Any]) -> dict[str, Any]:
        cleaned = self._known(written, "", self._workflow, refused.WORKFLOW_FIELDS, "a workflow")
        self._read_choice(cleaned, "on_failure", ("stop", "finish_branches"), "")
        self._read_choice(cleaned, "on_parent_cancel", ("cancel", "abandon"), "")
        for name, placeholder in (("name", "-"), ("start_at", PLACEHOLDER)):
            if name not in cleaned:
                self.fault("", "missing", f"the workflow has no `{name}`")
            elif not isinstance(cleaned[name], str):
                self.fault(
                    f"/{name}", "wrong_type", f"`{name}` is a text, and this is {kind_of(cleaned[name])}"
                )
            elif name == "start_at" and not is_id(cleaned[name]):
                self.fault("/start_at", "bad_id", f"an id is {ID_RULE}")
            else:
                continue
            cleaned[name] = placeholder
        if is_dict(cleaned.get("budget")):
            cleaned["budget"] = self._known(cleaned["budget"], "/budget", self._budget, (), "a budget")
        if is_dict(cleaned.get("labels")):
            self._check_labels(cleaned["labels"])
        if is_dict(cleaned.get("positions")):
            cleaned["positions"] = {k: v for k, v in cleaned["positions"].items() if not k.startswith("x-")}
        cleaned["nodes"] = self._read_nodes(cleaned)
        if cleaned["start_at"] == PLACEHOLDER:
            cleaned["start_at"] = next(iter(cleaned["nodes"]), "-")
        return cleaned

    def _read_nodes(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        nodes = cleaned.get("nodes")
        if "nodes" not in cleaned:
            self.fault("", "missing", "the workflow has no `nodes`")
            return {}
        if not is_dict(nodes):
            self.fault(
                "/nodes", "wrong_type", f"`nodes` is an object of nodes by id, and this is {kind_of(nodes)}"
            )
            return {}
        if not nodes:
            self.fault("/nodes", "missing", "a workflow has at least one node")
        if len(nodes) > self.limits.nodes_max:
            self.fault("/nodes", "too_many", f"{len(nodes):,} nodes; the limit is {self.limits.nodes_max:,}")
            return {}
        read: dict[str, Any] = {}
        for node, written in nodes.items():
            pointer = join_pointer("/nodes", node)
            if not is_id(node):
                self.fault(pointer, "bad_id", f"`{shorten(node)}` is no id: an id is {ID_RULE}")
            elif not is_dict(written):
                self.fault(pointer, "wrong_type", f"a node is an object, and this is {kind_of(written)}")
                read[node] = {"class": PLACEHOLDER}
            else:
                read[node] = self._read_node(written, pointer)
        return read

    def _read_node(self, written: dict[str, Any], pointer: str) -> dict[str, Any]:
        cleaned = self._known(written, pointer, self._node, refused.NODE_FIELDS, "a node")
        name = cleaned.get("class")
        if not isinstance(name, str) or not name:
            if "class" in cleaned:
                self.fault(f"{pointer}/class", "wrong_type", "`class` is the name of a node class")
            else:
                self.fault(pointer, "missing", "the node has no `class`")
            cleaned["class"] = PLACEHOLDER
        self._read_join(cleaned, f"{pointer}/join")
        if cleaned.get("next_node") is not None:
            self._read_next(cleaned, f"{pointer}/next_node")
        if cleaned.get("on_error") is not None:
            self._read_handlers(cleaned, f"{pointer}/on_error")
        if cleaned.get("compensate") is not None:
            self._read_compensate(cleaned, f"{pointer}/compensate")
        if cleaned.get("routes") is not None:
            cleaned["routes"] = self._read_list(cleaned["routes"], f"{pointer}/routes", "routes")
        if cleaned.get("cancels") is not None:
            cleaned["cancels"] = self._read_list(cleaned["cancels"], f"{pointer}/cancels", "cancels")
        if cleaned.get("may_use") is not None:
            cleaned["may_use"] = self._read_list(
                cleaned["may_use"], f"{pointer}/may_use", "may_use", what="node class"
            )
        if not isinstance(cleaned.get("when"), str | bool | None):
            kind = kind_of(cleaned["when"])
            self.fault(f"{pointer}/when", "wrong_type", f"`when` is an expression, and this is {kind}")
            del cleaned["when"]
        if cleaned.get("limits") is not None:
            self._read_limits(cleaned, f"{pointer}/limits")
        if is_dict(cleaned.get("cache")):
            cleaned["cache"] = self._known(cleaned["cache"], f"{pointer}/cache", self._cache, (), "`cache`")
        elif not isinstance(cleaned.get("cache"), bool | None):
            rule = '`cache` is `true`, `false` or an object such as {"ttl": "1h"}'
            kind = kind_of(cleaned["cache"])
            self.fault(f"{pointer}/cache", "wrong_type", f"{rule}, and this is {kind}")
            del cleaned["cache"]
        self._read_for_each(cleaned, pointer)
        if is_dict(cleaned.get("retry")):
            cleaned["retry"] = self._known(cleaned["retry"], f"{pointer}/retry", self._retry, (), "`retry`")
        return cleaned

    def _read_choice(
        self, cleaned: dict[str, Any], name: str, choices: tuple[str, ...], pointer: str
    ) -> None:
        written = cleaned.get(name)
        if written is None or written in choices:
            return
        near = self.nearest.find(written, choices) if isinstance(written, str) else None
        listed = ", ".join(f"`{choice}`" for choice in choices)
        self.fault(
            f"{pointer}/{name}", "wrong_value", f"`{name}` is one of {listed}{did_you_mean(near)}", near
        )
        del cleaned[name]

    def _read_join(self, cleaned: dict[str, Any], pointer: str) -> None:
        written = cleaned.get("join")
        if written is None or (isinstance(written, str) and written in _JOINS):
            return
        if is_dict(written):
            read = self._known(written, pointer, field_names(JoinDocument), (), "a join")
            if "count" not in read:
                self.fault(pointer, "missing", "the join has no `count`")
            else:
                self._check_count(read["count"], f"{pointer}/count", "`count`")
            self._read_choice(read, "rest", ("ignore", "cancel"), pointer)
            if not any(fault.pointer.startswith(pointer) for fault in self.faults):
                cleaned["join"] = read
                return
        elif isinstance(written, int | float) and not isinstance(written, bool):
            if self._check_count(written, pointer, "`join`"):
                return
        else:
            near = self.nearest.find(written, _JOINS) if isinstance(written, str) else None
            listed = ", ".join(f"`{choice}`" for choice in _JOINS)
            message = f'`join` is one of {listed}, a number, or {{"count": 2, "rest": "ignore"}}'
            self.fault(pointer, "wrong_value", f"{message}{did_you_mean(near)}", near)
        del cleaned["join"]

    def _check_count(self, written: Any, pointer: str, what: str) -> bool:
        if isinstance(written, int) and not isinstance(written, bool) and 1 <= written <= JOIN_COUNT_MAX:
            return True
        rule = f"{what} is a whole number from 1 to {JOIN_COUNT_MAX:,}, and this is {kind_of(written)}"
        if isinstance(written, int | float) and not isinstance(written, bool):
            rule = f"{what} is a whole number from 1 to {JOIN_COUNT_MAX:,}, and this is {written}"
        self.fault(pointer, "wrong_value", rule)
        return False

    def _read_limits(self, cleaned: dict[str, Any], pointer: str) -> None:
        written = cleaned["limits"]
        if not (is_dict(written) or is_array(written)):
            kind = kind_of(written)
            self.fault(pointer, "wrong_type", f"`limits` is a limit or a list of them, and this is {kind}")
            del cleaned["limits"]
            return
        several = list(written) if is_array(written) else [written]
        if not several:
            self.fault(pointer, "empty", "the list is empty; leave `limits` out if none is meant")
        kept: list[Any] = []
        for place, limit in enumerate(several):
            at = join_pointer(pointer, place) if is_array(written) else pointer
            if not is_dict(limit):
                self.fault(at, "wrong_type", f"a limit is an object, and this is {kind_of(limit)}")
                continue
            known = self._known(limit, at, self._limit, (), "a limit")
            if ("concurrency" in known) is ("rate" in known):
                words = "a limit has either `concurrency` (tasks at once) or `rate` (starts `per` so long)"
                self.fault(at, "wrong_value", words)
            elif "per" in known and "rate" not in known:
                self.fault(
                    f"{at}/per", "wrong_value", "`per` is the time of a `rate`, and this limit has none"
                )
            else:
                kept.append(known)
        cleaned["limits"] = kept or None

    def _read_for_each(self, cleaned: dict[str, Any], pointer: str) -> None:
        items = cleaned.get("for_each")
        if not (items is None or isinstance(items, str) or is_array(items)):
            rule = "`for_each` is an expression that gives a list, or a list"
            self.fault(f"{pointer}/for_each", "wrong_type", f"{rule}, and this is {kind_of(items)}")
            del cleaned["for_each"]
        until = cleaned.get("complete_when")
        counts = isinstance(until, int) and not isinstance(until, bool) and until >= 1
        if not (until is None or isinstance(until, str) or counts):
            rule = "`complete_when` is a whole number from 1 on, or an expression"
            shown = until if isinstance(until, int | float) else kind_of(until)
            self.fault(f"{pointer}/complete_when", "wrong_type", f"{rule}, and this is {shown}")
            del cleaned["complete_when"]

    def _read_next(self, cleaned: dict[str, Any], pointer: str) -> None:
        written = cleaned["next_node"]
        if is_dict(written):
            if not written:
                self.fault(
                    pointer, "empty", "the map has no labels; leave `next_node` out to end the path here"
                )
            read = {k: self._read_target(v, join_pointer(pointer, k)) for k, v in written.items()}
            cleaned["next_node"] = {label: target for label, target in read.items() if target is not None}
        else:
            cleaned["next_node"] = self._read_target(written, pointer)

    def _read_target(self, written: Any, pointer: str) -> Any:
        if isinstance(written, str):
            if is_id(written):
                return written
            self.fault(pointer, "bad_id", f"`{shorten(written)}` is no id: an id is {ID_RULE}")
            return None
        if is_array(written):
            return self._read_list(written, pointer, "next_node")
        self.fault(
            pointer, "wrong_type", f"a node id or a list of them is due here, and this is {kind_of(written)}"
        )
        return None

    def _read_list(self, written: Any, pointer: str, name: str, *, what: str = "node id") -> list[str] | None:
        if not is_array(written):
            kind, plural = kind_of(written), "es" if what.endswith("s") else "s"
            self.fault(pointer, "wrong_type", f"`{name}` is a list of {what}{plural}, and this is {kind}")
            return None
        if not written:
            self.fault(pointer, "empty", f"the list is empty; leave `{name}` out if none is meant")
            return None
        kept: list[str] = []
        for place, target in enumerate(written):
            at = join_pointer(pointer, place)
            if not isinstance(target, str):
                self.fault(at, "wrong_type", f"a {what} is due here, and this is {kind_of(target)}")
            elif target in kept:
                self.fault(at, "repeated", f"`{shorten(target)}` stands in this list twice")
            elif what == "node id" and not is_id(target) and not (name == "routes" and target == "*"):
                self.fault(at, "bad_id", f"`{shorten(target)}` is no id: an id is {ID_RULE}")
            else:
                kept.append(target)
        return kept

    def _read_handlers(self, cleaned: dict[str, Any], pointer: str) -> None:
        written = cleaned.pop("on_error")
        if isinstance(written, str):
            if is_id(written):
                cleaned["on_error"] = written
            else:
                self.fault(pointer, "bad_id", f"`{shorten(written)}` is no id: an id is {ID_RULE}")
        elif is_dict(written):
            if not written:
                self.fault(pointer, "empty", "the map has no error types; leave `on_error` out")
            kept: dict[str, str] = {}
            for error, target in written.items():
                at = join_pointer(pointer, error)
                if not isinstance(target, str):
                    self.fault(at, "wrong_type", f"a node id is due here, and this is {kind_of(target)}")
                elif not is_id(target):
                    self.fault(at, "bad_id", f"`{shorten(target)}` is no id: an id is {ID_RULE}")
                else:
                    kept[error] = target
            cleaned["on_error"] = kept
        else:
            message = (
                f"`on_error` is a node id, or a map from error type to node id; this is {kind_of(written)}"
            )
            self.fault(pointer, "wrong_type", message)

    def _read_compensate(self, cleaned: dict[str, Any], pointer: str) -> None:
        written = cleaned["compensate"]
        if isinstance(written, str) and is_id(written):
            return
        if isinstance(written, str):
            self.fault(pointer, "bad_id", f"`{shorten(written)}` is no id: an id is {ID_RULE}")
        else:
            message = f"`compensate` is the id of one node, and this is {kind_of(written)}"
            self.fault(pointer, "wrong_type", message)
        del cleaned["compensate"]

    def _known(
        self,
        written: dict[str, Any] | Mapping[str, Any],
        at: str,
        known: tuple[str, ...],
        later: tuple[str, ...],
        what: str,
    ) -> dict[str, Any]:
        """The entries that are acted on; the others are refused, but for `x-*`."""
        kept: dict[str, Any] = {}
        for key, value in written.items():
            if key in later:
                self.fault(join_pointer(at, key), "not_acted_on", refused.refuse_field(key))
            elif key in known:
                kept[key] = value
            elif not key.startswith("x-"):
                near = self.nearest.find(key, known)
                message = f"{what} has no `{shorten(key)}`{did_you_mean(near)}"
                self.fault(join_pointer(at, key), "unknown_key", message, near)
        return kept

    def _check_labels(self, labels: dict[str, Any]) -> None:
        if len(labels) > self.limits.labels_max:
            self.fault("/labels", "too_many", f"{len(labels)} labels; the limit is {self.limits.labels_max}")
        for key, value in list(labels.items()):
            if not 1 <= len(key) <= _LABEL_LENGTH_MAX or not key.isprintable():
                rule = f"1 to {_LABEL_LENGTH_MAX} printable characters"
                self.fault(join_pointer("/labels", key), "bad_label", f"the name of a label is {rule}")
            if isinstance(value, str) and len(value) > _LABEL_VALUE_MAX:
                rule = f"{len(value):,} characters; the limit of a label is {_LABEL_VALUE_MAX:,}"
                self.fault(join_pointer("/labels", key), "bad_label", rule)

    def validate(self, cleaned: dict[str, Any]) -> WorkflowDocument | None:
        """The document as classes; what doesn't fit is named and left out."""
        for _ in range(3):
            try:
                return WorkflowDocument.model_validate(cleaned)
            except ValidationError as error:
                problems = error.errors(include_url=False, include_context=False, include_input=False)
                for problem in problems:
                    self._take_out(cleaned, problem["loc"], problem["msg"])
        return None

    def _take_out(self, cleaned: dict[str, Any], location: tuple[int | str, ...], message: str) -> None:
        """Name what pydantic refused, and remove it (the nearest place that may be left out)."""
        holders: list[tuple[Any, int | str]] = []
        parent: Any = cleaned
        for step in location:
            inside = _entry(parent, step)
            if inside is _NOTHING:
                break
            holders.append((parent, step))
            parent = inside
        path = [step for _, step in holders]
        pointer = join_pointer("", *path)
        if not any(fault.pointer == pointer for fault in self.faults[-50:]):
            self.fault(pointer, "wrong_value", _in_words(message, location[len(path) :]))
        for holder, step in reversed(holders):
            if is_dict(holder):
                if step == "name" and holder is cleaned:
                    cleaned["name"] = "-"
                else:
                    del holder[str(step)]
                return


_NOTHING = object()


def _entry(holder: Any, step: int | str) -> Any:
    if is_dict(holder):
        return holder.get(str(step), _NOTHING)
    if is_array(holder) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return _NOTHING


def _in_words(message: str, missing: tuple[int | str, ...]) -> str:
    text = message.removeprefix("Value error, ")
    if missing and text == "Field required":
        return f"`{missing[-1]}` is missing"
    for english, plain in _PLAIN:
        text = text.replace(english, plain)
    return text[:1].lower() + text[1:]


_PLAIN = (
    ("Input should be a valid string", "a text is due here"),
    ("Input should be a valid dictionary", "an object is due here"),
    ("Input should be a valid list", "a list is due here"),
    ("Input should be a valid integer", "a whole number is due here"),
    ("Input should be a valid number", "a number is due here"),
    ("Input should be an object", "an object is due here"),
    ("Input should be", "this must be"),
)
