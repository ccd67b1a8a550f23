"""`@node`: a function as a node class. Its parameters are the params, its return annotation may be the output model."""

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError

from orchestrator.errors import UsageError
from orchestrator.model.declarations import Effect
from orchestrator.model.limits import PLAN_NODES
from orchestrator.sdk.context import Context
from orchestrator.sdk.node import BaseNode, DoubtPolicy

_ARGUMENT = re.compile(r"\s*\**(\w+)(?:\s*\([^)]*\))?:\s+(.*)")


class FunctionNode(BaseNode, abstract=True):
    """What `@node` makes of a function. `function` is the function as it was written, to call it in tests."""

    function: ClassVar[Callable[..., Any]]


class _Shape(NamedTuple):
    """How to call the function: its parameters by the model's field names, and the name that takes the context."""

    fields: Mapping[str, str]
    context: str | None


@overload
def node(function: Callable[..., Any], /) -> type[FunctionNode]: ...


@overload
def node(
    *,
    name: str | None = None,
    effect: Effect = Effect.WRITE,
    on_doubt: DoubtPolicy = "ask",
    routes: Sequence[str] | Literal["*"] | None = None,
    may_use: Sequence[str] | Literal["*"] | None = None,
    max_nodes: int = PLAN_NODES,
    cpu: bool = False,
    version: int = 1,
    title: str | None = None,
    family: str = "custom",
    icon: str = "",
) -> Callable[[Callable[..., Any]], type[FunctionNode]]: ...


def node(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    effect: Effect = Effect.WRITE,
    on_doubt: DoubtPolicy = "ask",
    routes: Sequence[str] | Literal["*"] | None = None,
    may_use: Sequence[str] | Literal["*"] | None = None,
    max_nodes: int = PLAN_NODES,
    cpu: bool = False,
    version: int = 1,
    title: str | None = None,
    family: str = "custom",
    icon: str = "",
) -> type[FunctionNode] | Callable[[Callable[..., Any]], type[FunctionNode]]:
    """Make a node class of a function, `async` or plain.

        @node(effect=Effect.READ)
        async def fetch_invoice(number: str, ctx: Context) -> Invoice:
            \"\"\"Fetch an invoice from the ledger.\"\"\"

    The class is called by the function's name unless `name` says otherwise. A parameter named `ctx`, or annotated with
    `Context`, gets the context; all others are the params, with types, defaults and the docstring's `Args:`. What
    the function returns is the output, or a `Route`, `Plan` or `Stop`; a pydantic model that annotates it is the output
    model.

    Raises:
        UsageError: no node can be made of this function; the message says why.
    """

    def build(fn: Callable[..., Any]) -> type[FunctionNode]:
        words = {
            "name": name or fn.__name__,
            "effect": effect,
            "on_doubt": on_doubt,
            "routes": routes,
            "may_use": may_use,
            "max_nodes": max_nodes,
            "cpu": cpu,
            "class_version": version,
            "title": title,
            "family": family,
            "icon": icon,
        }
        return _build(fn, words)

    return build if function is None else build(function)


def _build(fn: Callable[..., Any], words: Mapping[str, Any]) -> type[FunctionNode]:
    if isinstance(fn, type) or not inspect.isfunction(fn):
        raise UsageError(
            f"@node: {fn!r} is no function; write a class as `class X(BaseNode)`, and register that"
        )
    try:
        hints = get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise _wrong(
            fn, f"an annotation can't be found ({error})", "Import its type where the function is."
        ) from None
    params, shape = _params(fn, hints)
    output = hints.get("return")
    body: dict[str, Any] = {
        **words,
        "__doc__": _without_arguments(fn.__doc__ or ""),
        "__module__": fn.__module__,
        "__qualname__": fn.__qualname__,
        "function": staticmethod(fn),
        "Params": params,
        "Output": output if isinstance(output, type) and issubclass(output, BaseModel) else None,
        "execute": _execute(fn, shape),
    }
    return types.new_class(fn.__name__, (FunctionNode,), {}, lambda namespace: namespace.update(body))


def _execute(fn: Callable[..., Any], shape: _Shape) -> Callable[..., Any]:
    def arguments(params: BaseModel, ctx: Context) -> dict[str, Any]:
        given = {parameter: getattr(params, field) for field, parameter in shape.fields.items()}
        return given if shape.context is None else {**given, shape.context: ctx}

    async def execute_async(self: BaseNode, params: BaseModel, ctx: Context) -> Any:
        return await fn(**arguments(params, ctx))

    def execute_plain(self: BaseNode, params: BaseModel, ctx: Context) -> Any:
        return fn(**arguments(params, ctx))

    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise _wrong(fn, "it is a generator", "Return the output instead of yielding it.")
    return execute_async if inspect.iscoroutinefunction(fn) else execute_plain


def _params(fn: Callable[..., Any], hints: Mapping[str, Any]) -> tuple[type[BaseModel], _Shape]:
    told = _argument_docs(fn.__doc__ or "")
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    context: str | None = None
    for parameter in inspect.signature(fn).parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _wrong(
                fn,
                f"its parameter `{parameter}` has no name to give it by",
                "Write plain parameters, no `*`, `**` or `/`.",
            )
        if hint is Context or parameter.name == "ctx":
            if context is not None:
                raise _wrong(
                    fn, f"both `{context}` and `{parameter.name}` take the context", "Keep one of them."
                )
            context = parameter.name
            continue
        # A name that pydantic keeps for itself gets another one inside; the document's word stays.
        taken = parameter.name.startswith("_") or hasattr(BaseModel, parameter.name)
        field = f"param_{parameter.name.lstrip('_')}" if taken else parameter.name
        default = ... if parameter.default is parameter.empty else parameter.default
        info = Field(default, alias=parameter.name if taken else None, description=told.get(parameter.name))
        fields[field] = (Annotated[hint, info], default)
        names[field] = parameter.name
    title = "".join(part[:1].upper() + part[1:] for part in fn.__name__.split("_")) + "Params"
    try:
        config = ConfigDict(extra="forbid", protected_namespaces=())
        model = create_model(title, __config__=config, __module__=fn.__module__, **fields)
    except (PydanticUserError, NameError) as error:
        raise _wrong(
            fn, f"its parameters can't be described ({error})", "Use types that pydantic knows."
        ) from error
    return model, _Shape(names, context)


def _argument_docs(doc: str) -> dict[str, str]:
    """What the docstring's `Args:` section says of each parameter."""
    told: dict[str, str] = {}
    current, inside, indent = "", False, 0
    for line in inspect.cleandoc(doc).splitlines():
        if line.strip() in ("Args:", "Arguments:"):
            inside, indent = True, 0
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth == 0:
                inside = False
                continue
            indent = indent or depth
            match = _ARGUMENT.fullmatch(line) if depth == indent else None
            if match:
                current = match[1]
                told[current] = match[2].strip()
            elif current:
                told[current] += " " + line.strip()
    return told


def _without_arguments(doc: str) -> str:
    """The docstring up to its first section: that says what the params say themselves."""
    lines = inspect.cleandoc(doc).splitlines()
    sections = ("Args:", "Arguments:", "Returns:", "Raises:")
    end = next((i for i, line in enumerate(lines) if line.strip() in sections), len(lines))
    return "\n".join(lines[:end]).strip()


def _wrong(fn: Callable[..., Any], cause: str, cure: str) -> UsageError:
    return UsageError(f"@node function {fn.__qualname__} (in {fn.__module__}): {cause}. {cure}")
