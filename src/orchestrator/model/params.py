"""Params against the schema of their class, as far as they are known before a run."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Fault
from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.nearest import Nearest, did_you_mean, shorten
from orchestrator.model.plain import is_array, is_dict
from orchestrator.model.pointers import join_pointer

if TYPE_CHECKING:
    from jsonschema import ValidationError

# These look at one object or list itself, so they hold whatever its entries turn out to be.
_INDEPENDENT = frozenset(
    {
        "required",
        "additionalProperties",
        "dependentRequired",
        "minProperties",
        "maxProperties",
        "minItems",
        "maxItems",
    }
)
_CHOICES = ("oneOf", "anyOf")


class ParamsChecker:
    """Checks the params of nodes; one for a whole document, so that each class's schema is read once."""

    def __init__(self, nearest: Nearest) -> None:
        self._nearest = nearest
        self._validators: dict[str, Any] = {}

    def check(
        self, params: Mapping[str, Any], declaration: ClassDeclaration, *, pointer: str
    ) -> Iterator[Fault]:
        """The faults of one node's params. Values that hold expressions are skipped: only a run knows them."""
        schema = declaration.params_schema
        if schema is None or (not params and not any(name in schema for name in ("required", *_CHOICES))):
            return
        validator: Any = self._validators.get(declaration.name)
        if validator is None:
            from jsonschema import Draft202012Validator  # heavy: only where params are checked

            validator = self._validators[declaration.name] = Draft202012Validator(schema)
        found: list[ValidationError] = list(validator.iter_errors(dict(params)))
        for error in found:
            if _is_known(error):
                yield from self._faults(error, declaration, pointer)

    def _faults(
        self, error: "ValidationError", declaration: ClassDeclaration, pointer: str
    ) -> Iterator[Fault]:
        at = join_pointer(pointer, *error.absolute_path)
        schema: Any = error.schema
        instance: Any = error.instance
        if error.validator == "additionalProperties" and error.validator_value is False and is_dict(instance):
            names = tuple(schema.get("properties", {}))
            for key in instance:
                if key not in names:
                    near = self._nearest.find(key, names)
                    message = f"{_subject(error, declaration)} has no parameter `{shorten(key)}`{did_you_mean(near)}"
                    yield Fault(
                        pointer=join_pointer(at, key), code="unknown_param", message=message, suggestion=near
                    )
        elif error.validator == "required":
            needed: Any = error.validator_value
            missing: list[str] = [name for name in needed if name not in instance]
            if missing and error.message.startswith(repr(missing[0])):
                listed = ", ".join(f"`{name}`" for name in missing)
                message = f"{_subject(error, declaration)} needs the parameter {listed}"
                yield Fault(pointer=at, code="missing_param", message=message)
        elif (names := _choice_of_names(error)) and is_dict(instance):
            given = [f"`{name}`" for name in names if name in instance]
            count = "exactly one" if error.validator == "oneOf" else "at least one"
            listed = ", ".join(f"`{name}`" for name in names)
            message = f"{_subject(error, declaration)} needs {count} of the parameters {listed}"
            if given:
                message += f", and has {', '.join(given)}"
            yield Fault(pointer=at, code="missing_param", message=message)
        elif error.validator == "dependentRequired" and is_dict(instance):
            needs: Any = error.validator_value
            for name, others in needs.items():
                lacking = ", ".join(f"`{other}`" for other in others if other not in instance)
                if name in instance and lacking:
                    message = f"{_subject(error, declaration)}: `{name}` goes only with {lacking}"
                    yield Fault(pointer=join_pointer(at, name), code="bad_param", message=message)
        else:
            yield Fault(pointer=at, code="bad_param", message=shorten(error.message, length=300))


def _choice_of_names(error: "ValidationError") -> tuple[str, ...]:
    """The names of a choice that is made by which of them is there, `{"oneOf": [{"required": ["a"]}, ...]}`."""
    branches: Any = error.validator_value
    if error.validator not in _CHOICES or not is_array(branches):
        return ()
    if not all(is_dict(b) and b.keys() == {"required"} and len(b["required"]) == 1 for b in branches):
        return ()
    return tuple(branch["required"][0] for branch in branches)


def _subject(error: "ValidationError", declaration: ClassDeclaration) -> str:
    return f"`{error.absolute_path[-1]}`" if error.absolute_path else f"class `{declaration.name}`"


def _is_known(error: "ValidationError") -> bool:
    """Whether the fault stands whatever the expressions in the params come to."""
    return (
        error.validator in _INDEPENDENT
        or bool(_choice_of_names(error))
        or not holds_expression(error.instance)
    )


def holds_expression(value: Any) -> bool:
    """Whether a JSON tree has an expression anywhere."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, str):
            if "{{" in current:
                return True
        elif is_dict(current):
            stack.extend(current.values())
        elif is_array(current):
            stack.extend(current)
    return False


def check_schema(schema: Mapping[str, Any], *, pointer: str) -> list[Fault]:
    """The faults of a JSON Schema that a document brings along. References may only lead within it."""
    from jsonschema import Draft202012Validator  # heavy: only where a document has a schema

    faults: list[Fault] = []
    for error in _meta_validator(Draft202012Validator).iter_errors(dict(schema)):
        at = join_pointer(pointer, *error.absolute_path)
        message = f"this is no JSON Schema: {shorten(error.message, length=300)}"
        faults.append(Fault(pointer=at, code="bad_schema", message=message))
    stack: list[tuple[str, Any]] = [(pointer, schema)]
    while stack:
        at, current = stack.pop()
        if is_dict(current):
            for key, value in current.items():
                if key in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
                    message = "a reference leads only within this schema, and begins with `#`"
                    faults.append(Fault(pointer=join_pointer(at, key), code="bad_schema", message=message))
                stack.append((join_pointer(at, key), value))
        elif is_array(current):
            stack.extend((join_pointer(at, place), value) for place, value in enumerate(current))
    return faults


@lru_cache(maxsize=1)
def _meta_validator(validator: Any) -> Any:
    return validator(validator.META_SCHEMA)
