"""One node of n8n as one of ours: class and params, or the reason why there is none.

Every function here takes a node's parameters and gives a `Mapped`, or raises `Unmapped` with the reason.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cli.n8n.expressions import Unmapped, refused, template, translate
from orchestrator.model.plain import is_array, is_dict

UNITS = {"seconds": "s", "minutes": "m", "hours": "h", "days": "d", "weeks": "w"}


@dataclass
class Mapped:
    """A class with its params. `ports` names the labels of its ways out, None where it has one way."""

    class_name: str
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    ports: list[str] | None = None
    rest: str | None = None
    """What the label `*` does: `end` its path, or the label that it means."""
    notes: list[str] = field(default_factory=list[str])
    unmapped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Expressions that aren't mapped: their text and why."""


def inner(parameters: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The map that stands under a key; an empty one if there is none."""
    found: object = parameters.get(key)
    return found if is_dict(found) else {}


class Values:
    """Turns parameters into ours, and keeps what can't be."""

    def __init__(self, ids: Mapping[str, str], mapped: Mapped) -> None:
        self.ids, self.mapped = ids, mapped

    def of(self, value: Any) -> Any:
        """A value with every text in it as ours."""
        if isinstance(value, str):
            try:
                return template(value, self.ids)
            except Unmapped as why:
                self.mapped.unmapped.append((value, str(why)))
                return refused(value)
        if is_dict(value):
            return {key: self.of(inner) for key, inner in value.items()}
        return [self.of(inner) for inner in value] if is_array(value) else value

    def operand(self, value: Any) -> str:
        """A value as part of an expression. Raises Unmapped."""
        if not isinstance(value, str) or not value.startswith("="):
            return json.dumps(value, ensure_ascii=False) if value is not None else "none"
        written = value[1:].strip()
        if written.startswith("{{") and written.endswith("}}") and written.count("{{") == 1:
            return translate(written[2:-2], self.ids)
        raise Unmapped("a text with expressions in it, as part of a condition, has no counterpart")


def map_node(kind: str, version: float, parameters: Mapping[str, Any], ids: Mapping[str, str]) -> Mapped:
    """The class for a type of n8n (without its package's name).

    Raises:
        Unmapped: there is none of the same meaning.
    """
    if is_trigger(kind):
        note = "what starts it (a schedule, a webhook, an event) isn't mapped: start its runs by the API"
        return Mapped(
            "Start", notes=[] if kind in ("manualTrigger", "start", "executeWorkflowTrigger") else [note]
        )
    mapping = _MAPPINGS.get(kind)
    if mapping is None:
        raise Unmapped(f"there is no class for `{kind}`")
    return mapping(parameters, ids, version)


def is_trigger(kind: str) -> bool:
    """Whether a type begins a workflow."""
    return kind.lower().endswith("trigger") or kind in ("webhook", "cron", "interval", "start")


# --- conditions ---------------------------------------------------------------------------------------------------

_OPERATIONS: Mapping[str, str] = {
    "equals": "{0} == {1}", "equal": "{0} == {1}", "notEquals": "{0} != {1}", "notEqual": "{0} != {1}",
    "gt": "{0} > {1}", "larger": "{0} > {1}", "gte": "{0} >= {1}", "largerEqual": "{0} >= {1}",
    "lt": "{0} < {1}", "smaller": "{0} < {1}", "lte": "{0} <= {1}", "smallerEqual": "{0} <= {1}",
    "contains": "{1} in {0}", "notContains": "{1} not in {0}",
    "startsWith": "{0} is startswith({1})", "endsWith": "{0} is endswith({1})",
    "exists": "{0} is defined", "notExists": "{0} is undefined",
    "empty": "{0} is empty", "isEmpty": "{0} is empty", "notEmpty": "not ({0} is empty)",
    "isNotEmpty": "not ({0} is empty)", "true": "{0} is true", "false": "{0} is false",
    "lengthGt": "({0} | length) > {1}", "lengthLt": "({0} | length) < {1}", "lengthEquals": "({0} | length) == {1}",
}  # fmt: skip


def condition_of(written: Any, values: Values, *, how: str = "all") -> str:
    """Conditions of If, Filter and Switch as one expression. Raises Unmapped."""
    parts: list[str] = []
    if is_dict(written) and is_array(written.get("conditions")):  # version 2
        how = "any" if written.get("combinator") == "or" else "all"
        for one in written["conditions"]:
            operator: Any = inner(one, "operator")
            operation = operator.get("operation")
            parts.append(_compare(str(operation), one.get("leftValue"), one.get("rightValue"), values))
    elif is_dict(written):
        for kind in written.values():
            for one in kind if is_array(kind) else ():
                default = "equal"
                parts.append(
                    _compare(str(one.get("operation", default)), one.get("value1"), one.get("value2"), values)
                )
    if not parts:
        raise Unmapped("there is no condition in it")
    return (" or " if how == "any" else " and ").join(f"({part})" for part in parts)


def _compare(operation: str, left: Any, right: Any, values: Values) -> str:
    form = _OPERATIONS.get(operation)
    if form is None:
        raise Unmapped(f"the comparison `{operation}` has no counterpart")
    return form.format(values.operand(left), values.operand(right) if "{1}" in form else "")


def _if(parameters: Mapping[str, Any], ids: Mapping[str, str], _version: float) -> Mapped:
    mapped = Mapped("If", ports=["true", "false"])
    how = str(parameters.get("combineOperation", "all"))
    condition = condition_of(parameters.get("conditions"), Values(ids, mapped), how=how)
    mapped.params = {"condition": "{{ " + condition + " }}"}
    return mapped


def _filter(parameters: Mapping[str, Any], ids: Mapping[str, str], version: float) -> Mapped:
    mapped = _if(parameters, ids, version)
    mapped.notes.append("it lets the whole output pass or none of it, where n8n looks at each item")
    return mapped


def _switch(parameters: Mapping[str, Any], ids: Mapping[str, str], _version: float) -> Mapped:
    mapped = Mapped("Switch", ports=[], rest="end")
    values = Values(ids, mapped)
    if parameters.get("mode") == "expression":
        raise Unmapped("a switch that gives the number of its output by an expression has no counterpart")
    rules: Any = inner(parameters, "rules")
    cases: list[dict[str, Any]] = []
    labels: list[str] = []
    if is_array(rules.get("values")):  # version 3
        for number, rule in enumerate(rules["values"]):
            label = str(rule.get("outputKey") or number) if rule.get("renameOutput") else str(number)
            labels.append(label if label not in labels else f"{label} {number}")
            cases.append(
                {"name": labels[-1], "when": "{{ " + condition_of(rule.get("conditions"), values) + " }}"}
            )
        fallback: Any = inner(parameters, "options").get("fallbackOutput", "none")
    else:
        outputs = max((int(rule.get("output", 0)) for rule in rules.get("rules", ())), default=0)
        labels = [str(number) for number in range(max(4, outputs + 1))]
        for rule in rules.get("rules", ()):
            when = _compare(
                str(rule.get("operation", "equal")), parameters.get("value1"), rule.get("value2"), values
            )
            cases.append({"name": str(rule.get("output", 0)), "when": "{{ " + when + " }}"})
        fallback = parameters.get("fallbackOutput", -1)
    if not cases:
        raise Unmapped("there is no rule in it")
    mapped.params, mapped.ports = {"cases": cases}, labels
    if fallback == "extra":
        mapped.ports = [*labels, "*"]
        mapped.rest = None
    elif isinstance(fallback, int) and 0 <= fallback < len(labels):
        mapped.rest = labels[fallback]
    return mapped


# --- data ---------------------------------------------------------------------------------------------------------


def _set(parameters: Mapping[str, Any], ids: Mapping[str, str], _version: float) -> Mapped:
    mapped = Mapped("Set")
    values = Values(ids, mapped)
    if parameters.get("mode") in ("raw", "json"):
        return _set_raw(parameters, mapped, values)
    found: dict[str, Any] = {}
    assigned: Any = inner(parameters, "assignments").get("assignments")
    fields: Any = inner(parameters, "fields").get("values")
    if is_array(assigned):
        pairs = [(one.get("name"), _typed(one.get("value"), one.get("type"))) for one in assigned]
    elif is_array(fields):
        pairs = [(one.get("name"), one.get(one.get("type", "stringValue"))) for one in fields]
    else:
        kinds: Any = inner(parameters, "values")
        pairs = [(one.get("name"), one.get("value")) for kind in kinds.values() for one in kind]
    dotted = inner(parameters, "options").get("dotNotation", True)
    for name, value in pairs:
        _put(found, str(name), values.of(value), dotted=bool(dotted))
    mapped.params = {"values": found} if found else {}
    if is_array(assigned):
        keeps = bool(parameters.get("includeOtherFields"))
    elif is_array(fields):
        keeps = parameters.get("include", "all") != "none"
    else:
        keeps = not parameters.get("keepOnlySet")
    if keeps:
        mapped.params["keep_previous"] = True
    return mapped


def _set_raw(parameters: Mapping[str, Any], mapped: Mapped, values: Values) -> Mapped:
    written = parameters.get("jsonOutput")
    if isinstance(written, str) and not written.startswith("="):
        try:
            written = json.loads(written)
        except ValueError:
            raise Unmapped("its JSON can't be read") from None
    if not is_dict(written):
        raise Unmapped("JSON that is put together by expressions has no counterpart")
    mapped.params = {"values": values.of(written)}
    return mapped


def _typed(value: Any, kind: Any) -> Any:
    """A value as its type says, where it isn't an expression."""
    if isinstance(value, str) and value.startswith("=") and "{{" not in value:
        value = value[1:]
    if (
        isinstance(value, str)
        and not value.startswith("=")
        and kind in ("number", "object", "array", "boolean")
    ):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _put(into: dict[str, Any], name: str, value: Any, *, dotted: bool) -> None:
    *way, last = name.split(".") if dotted else [name]
    for key in way:
        inner = into.setdefault(key, {})
        if not is_dict(inner):
            inner = into[key] = {}
        into = inner
    into[last] = value


def _pass_on(_parameters: Mapping[str, Any], _ids: Mapping[str, str], _version: float) -> Mapped:
    return Mapped("Set")


def _merge(parameters: Mapping[str, Any], _ids: Mapping[str, str], _version: float) -> Mapped:
    mode = parameters.get("mode", "append")
    note = f"its mode `{mode}` isn't mapped: what led here is a map by node id; put it together in `values`"
    return Mapped("Set", notes=[note])


# --- flow ---------------------------------------------------------------------------------------------------------


def _wait(parameters: Mapping[str, Any], ids: Mapping[str, str], version: float) -> Mapped:
    mapped = Mapped("Wait")
    values = Values(ids, mapped)
    resume = parameters.get("resume", "timeInterval")
    if resume == "timeInterval":
        amount = parameters.get("amount", 1 if version < 1.1 else 5)
        unit = UNITS.get(str(parameters.get("unit", "hours" if version < 1.1 else "seconds")))
        if unit is None:
            raise Unmapped(f"the unit `{parameters.get('unit')}` has no counterpart")
        mapped.params = {"for": f"{values.of(amount)}{unit}"}
    elif resume == "specificTime":
        mapped.params = {"until": values.of(parameters.get("dateTime", ""))}
        mapped.notes.append("a time without a zone is refused: write one with its zone")
    elif resume in ("webhook", "form"):
        mapped.params = {"signal": "resume"}
        mapped.notes.append(f"it waits for the signal `resume`, where n8n waits for a {resume}")
    else:
        raise Unmapped(f"a wait for `{resume}` has no counterpart")
    return mapped


def _stop(parameters: Mapping[str, Any], ids: Mapping[str, str], _version: float) -> Mapped:
    mapped = Mapped("Stop")
    message = parameters.get("errorMessage", parameters.get("errorObject", "stopped"))
    mapped.params = {"succeed": False, "message": Values(ids, mapped).of(str(message))}
    return mapped


def _sub_workflow(parameters: Mapping[str, Any], ids: Mapping[str, str], _version: float) -> Mapped:
    mapped = Mapped("SubWorkflow")
    if parameters.get("source", "database") != "database":
        raise Unmapped(
            f"a workflow from `{parameters.get('source')}` has no counterpart: save it by its name"
        )
    target: Any = parameters.get("workflowId")
    named = False
    if is_dict(target):
        named = bool(target.get("cachedResultName"))
        target = target.get("cachedResultName") or target.get("value")
    if target in (None, ""):
        raise Unmapped("it doesn't say which workflow")
    mapped.params = {"workflow": Values(ids, mapped).of(str(target))}
    if not named:
        mapped.notes.append(
            f"n8n calls its workflow by the id {target!r}; put the name of yours into `workflow`"
        )
    return mapped


_MAPPINGS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str], float], Mapped]] = {
    "if": _if,
    "filter": _filter,
    "switch": _switch,
    "set": _set,
    "merge": _merge,
    "noOp": _pass_on,
    "wait": _wait,
    "stopAndError": _stop,
    "executeWorkflow": _sub_workflow,
}
"""Types that have a class of the same meaning; triggers beside."""
