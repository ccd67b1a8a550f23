"""JSON Schema (2020-12) of the document, for editors: completion, descriptions on hover, problems as one types.

It says what `shape` and `params` check, as far as JSON Schema can; names of nodes and the graph are the checks' alone.
A class's schema is admitted with an expression in the place of any value.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.model.declarations import ClassDeclaration, class_spellings
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.limits import DEFAULT_LIMITS
from orchestrator.model.plain import is_array, is_dict

_EXPRESSION = {"type": "string", "pattern": "\\{\\{", "description": "An expression: `{{ … }}`."}
_HOVER = ("title", "description", "default", "examples")
_BY_KEY = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "unevaluatedProperties")


def workflow_schema(known: Mapping[str, ClassDeclaration]) -> dict[str, Any]:
    """The schema of a workflow document whose node classes are the known ones, under both of their spellings."""
    schema = WorkflowDocument.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.pop("$defs")
    for name, definition in definitions.items():
        _open_to_notes(definition)
        definitions[name] = _without_titles(definition)
    _open_to_notes(schema)
    schema = _without_titles(schema)
    nodes = schema["properties"]["nodes"]
    nodes["minProperties"] = 1
    nodes["maxProperties"] = DEFAULT_LIMITS.nodes_max
    nodes["propertyNames"] = {"pattern": "^[A-Za-z0-9_.:-]{1,128}$"}
    schema["properties"]["labels"]["maxProperties"] = DEFAULT_LIMITS.labels_max
    node = definitions["NodeDocument"]
    _describe_classes(node, known, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Workflow",
        **schema,
        "$defs": definitions,
    }


def params_schema(declaration: ClassDeclaration) -> dict[str, Any]:
    """The schema of a class's params as a document may hold them: any value may be an expression."""
    definitions: dict[str, Any] = {}
    schema = _admit(
        declaration.params_schema or {"type": "object"}, declaration.name, definitions, outermost=True
    )
    return {**schema, "$defs": definitions} if definitions else schema


def _describe_classes(
    node: dict[str, Any], known: Mapping[str, ClassDeclaration], definitions: dict[str, Any]
) -> None:
    choices: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for name in sorted(known):
        declaration = known[name]
        about = declaration.description or declaration.summary or declaration.title
        spellings = [s for s in class_spellings(declaration.name) if s == declaration.name or s not in known]
        for spelling in spellings:
            choice: dict[str, Any] = {"const": spelling}
            if declaration.title:
                choice["title"] = declaration.title
            if about:
                choice["description"] = about
            choices.append(choice)
        if declaration.params_schema is None:
            continue
        params = _admit(declaration.params_schema, declaration.name, definitions, outermost=True)
        then: dict[str, Any] = {"properties": {"params": params}}
        if declaration.params_schema.get("required"):
            then["required"] = ["params"]
        rules.append(
            {"if": {"properties": {"class": {"enum": spellings}}, "required": ["class"]}, "then": then}
        )
    described = node["properties"]["class"]
    described["enum"] = [choice["const"] for choice in choices]
    if not choices:
        del described["enum"]
    elif any(len(choice) > 1 for choice in choices):
        described["oneOf"] = choices
    if rules:
        node["allOf"] = rules


def _open_to_notes(definition: dict[str, Any]) -> None:
    if definition.get("additionalProperties") is False:
        definition["patternProperties"] = {"^x-": {"description": "A note of your own; never read."}}


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """The schema without the titles that were made up from field names."""
    if is_dict(schema):
        return {
            key: _without_titles(value, names=not names and key in ("properties", "$defs"))
            for key, value in schema.items()
            if names or key != "title"
        }
    return [_without_titles(entry) for entry in schema] if is_array(schema) else schema


def _admit(schema: Any, owner: str, definitions: dict[str, Any], *, outermost: bool = False) -> Any:
    """The schema with its definitions moved beside the others', and open to an expression at every value."""
    if not is_dict(schema):
        return schema
    changed: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$defs" and is_dict(value):
            for name, definition in value.items():
                definitions[f"{owner}.{name}"] = _admit(definition, owner, definitions, outermost=True)
        elif key in ("$ref", "$dynamicRef") and isinstance(value, str):
            changed[key] = value.replace("#/$defs/", f"#/$defs/{owner}.", 1)
        elif key == "discriminator":
            continue
        elif key in _BY_KEY and is_dict(value):
            changed[key] = {name: _admit(entry, owner, definitions) for name, entry in value.items()}
        elif key in _LISTS and is_array(value):
            changed[key] = [_admit(entry, owner, definitions, outermost=True) for entry in value]
        elif key in _SINGLE:
            changed[key] = _admit(
                value, owner, definitions, outermost=key not in ("items", "additionalProperties")
            )
        else:
            changed[key] = value
    if outermost or _takes_any_text(changed):
        return changed
    hover = {key: changed.pop(key) for key in _HOVER if key in changed}
    return {**hover, "anyOf": [changed, _EXPRESSION]}


def _takes_any_text(schema: Mapping[str, Any]) -> bool:
    constrained = {
        "enum",
        "const",
        "pattern",
        "format",
        "minLength",
        "maxLength",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
    }
    return schema.get("type", "string") == "string" and not constrained & schema.keys()
