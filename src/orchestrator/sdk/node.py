"""`BaseNode`: what a node class is, and the checks that it is one before anything runs.

A class says four things: what it takes (`Params`), what it gives (`Output`), what it does to the world (`effect`) and
whether it chooses the way (`routes`). Everything that can be judged from these is judged when the class is made, so
that a mistake shows at import, with the class, the cause and the cure.
"""

import difflib
import inspect
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.errors import PydanticUserError

from orchestrator.errors import Fault, OutputNotStorable, UsageError
from orchestrator.model.declarations import ANY, DOUBT_POLICIES, ClassDeclaration, Effect
from orchestrator.model.limits import PLAN_NODES, PLAN_NODES_MAX
from orchestrator.model.pointers import join_pointer
from orchestrator.sdk.context import Context
from orchestrator.sdk.errors import InvalidParams

DoubtPolicy = Literal["ask", "retry", "skip", "fail"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", re.ASCII)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


class NoParams(BaseModel):
    """Takes no params."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_NO_PARAMS = NoParams()


class BaseNode:
    """The base of every node class.

        class ChargeNode(BaseNode):
            \"\"\"Charge the customer's card.\"\"\"

            effect = Effect.WRITE

            class Params(BaseModel):
                amount: int
                currency: str = "EUR"

            async def execute(self, params: Params, ctx: Context) -> dict[str, str]:
                receipt = await gateway.charge(params.amount, idempotency_key=ctx.idempotency_key)
                return {"receipt": receipt.id}

    One instance is made per attempt; it holds nothing from one task to the next. `execute` is `async` (runs on the
    event loop, must not block it) or plain (runs in a thread). It returns the task's output, or a `Route`, `Plan` or
    `Stop`.

    An intermediate class that is no node itself says so: `class Http(BaseNode, abstract=True)`.

    Attributes:
        name: what documents call the class; left out: the Python class's own name. Never inherited.
        effect: what running it does to the world (see `Effect`); the strongest, if `effect_for` computes it.
        on_doubt: what becomes of an irreversible attempt or step whose outcome is unknown: `"ask"` a person, `"retry"`
            (as often as the node's `retry` allows, then ask), `"skip"` or `"fail"`. A document may say otherwise.
        routes: the node ids that it chooses among, `ANY`, or None for a class that doesn't decide.
        may_use: the classes that its plans may use, `ANY`, or None for a class that lays no plans.
        max_nodes: how many nodes one of its plans may have. A document may tighten both.
        class_version: raise it when the meaning changes, so that running versions know.
        Params: a pydantic model; unknown params are refused unless the model's own config says otherwise. May be left
            out if `execute` annotates `params`.
        Output: a pydantic model that every plain output must fit, or None: anything JSON.
        title, family, icon: how the page shows it; left out, the title comes from the class's name.
        cpu: plain `execute` runs in a process of its own, which a timeout or a cancel kills; see the authoring guide
            for what it may use of its context.
    """

    name: ClassVar[str | None] = None
    effect: ClassVar[Effect] = Effect.WRITE
    on_doubt: ClassVar[DoubtPolicy] = "ask"
    routes: ClassVar[Sequence[str] | None] = None
    may_use: ClassVar[Sequence[str] | None] = None
    max_nodes: ClassVar[int] = PLAN_NODES
    class_version: ClassVar[int] = 1
    cpu: ClassVar[bool] = False
    title: ClassVar[str | None] = None
    family: ClassVar[str] = "custom"
    icon: ClassVar[str] = ""
    Params: ClassVar[type[BaseModel]] = NoParams
    Output: ClassVar[type[BaseModel] | None] = None

    is_abstract: ClassVar[bool] = True
    """Set by the class statement; an abstract class can't be registered."""
    is_async: ClassVar[bool] = False
    """Worked out from `execute`: whether it is awaited on the loop or called in a thread."""

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        """Check the class and work out what it didn't say.

        Raises:
            UsageError: the class can't be a node; the message names class, cause and cure.
        """
        super().__init_subclass__(**kwargs)
        cls.is_abstract = abstract
        if "name" not in cls.__dict__:
            cls.name = None
        if abstract:
            return
        _check_execute(cls)
        _check_words(cls)
        cls.Params = _params_model(cls)
        _check_output(cls)
        cls.is_async = inspect.iscoroutinefunction(cls.execute)

    def execute(self, params: Any, ctx: Context) -> Any:
        """Do the work: called once per attempt, with the params validated. Override it, `async` or plain.

        Returns:
            The output (anything JSON, or a pydantic model), a `Route`, or a `Stop`.

        Raises:
            RetryLater: nothing happened, try again later.
            PermanentFailure: trying again is pointless.
            Exception: any other fails the attempt and is tried again as the node's `retry` says.
        """
        raise NotImplementedError

    @classmethod
    def effect_for(cls, params: Any) -> Effect:
        """The effect of running it with these params; override it where params matter. Never stronger than `effect`."""
        return cls.effect

    @classmethod
    def class_name(cls) -> str:
        """What documents call this class."""
        return cls.name or cls.__name__

    @classmethod
    def declaration(cls) -> ClassDeclaration:
        """What the class says about itself, schemas included. Computed once per class.

        Raises:
            UsageError: a schema can't be made from `Params` or `Output`.
        """
        made = cls.__dict__.get("_declaration")
        if not isinstance(made, ClassDeclaration):
            made = _declare(cls)
            type.__setattr__(cls, "_declaration", made)
        return made

    @classmethod
    def parse_params(cls, values: Mapping[str, Any]) -> Any:
        """The params model of evaluated params, as `execute` gets it.

        Raises:
            InvalidParams: they don't fit; every fault is listed with its pointer.
        """
        if not values and cls.Params is NoParams:
            return _NO_PARAMS
        try:
            return cls.Params.model_validate(values)
        except ValidationError as error:
            raise InvalidParams(cls.class_name(), _faults(error, cls.Params)) from None

    @classmethod
    def dump_output(cls, output: Any) -> Any:
        """A plain output as JSON-ready data: models become maps; with an `Output` model it must fit that.

        Of what has no `Output` only a model at the top is turned; the rest is for whoever encodes it to judge.

        Raises:
            OutputNotStorable: it doesn't fit the `Output` model.
        """
        if cls.Output is None:
            return _dump(output) if isinstance(output, BaseModel) else output
        try:
            model = output if isinstance(output, cls.Output) else cls.Output.model_validate(output)
        except ValidationError as error:
            said = f"the output of {cls.class_name()} doesn't fit its Output model"
            raise OutputNotStorable(f"{said}: {'; '.join(map(str, _faults(error)))}") from None
        return _dump(model)


def _dump(model: BaseModel) -> Any:
    try:
        return model.model_dump(mode="json", by_alias=True)
    except ValueError as error:
        raise OutputNotStorable(f"a {type(model).__name__} can't be written as JSON: {error}") from error


def _faults(error: ValidationError, model: type[BaseModel] | None = None) -> list[Fault]:
    faults: list[Fault] = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        message, suggestion = found["msg"].removeprefix("Value error, "), None
        if found["type"] == "extra_forbidden":
            name = str(found["loc"][-1])
            known = (
                [f.alias or n for n, f in model.model_fields.items()]
                if model and len(found["loc"]) == 1
                else []
            )
            suggestion = next(iter(difflib.get_close_matches(name, known, n=1)), None)
            message = f"there is no `{name}`" + (f"; did you mean `{suggestion}`?" if suggestion else "")
        pointer = join_pointer("", *found["loc"])
        faults.append(Fault(pointer=pointer, code=found["type"], message=message, suggestion=suggestion))
    return faults


def wrong(cls: type, cause: str, cure: str) -> UsageError:
    """The error for a class that can't be a node."""
    return UsageError(f"node class {cls.__qualname__} (in {cls.__module__}): {cause}. {cure}")


def _check_execute(cls: type[BaseNode]) -> None:
    execute = inspect.getattr_static(cls, "execute")
    if execute is inspect.getattr_static(BaseNode, "execute"):
        raise wrong(
            cls,
            "it has no `execute`",
            "Add `async def execute(self, params, ctx)`, or write `abstract=True` beside the base class.",
        )
    if not inspect.isfunction(execute):
        raise wrong(cls, "`execute` is no plain method", "Write `async def execute(self, params, ctx)`.")
    if inspect.isasyncgenfunction(execute) or inspect.isgeneratorfunction(execute):
        raise wrong(cls, "`execute` is a generator", "Return the output instead of yielding it.")
    try:
        inspect.signature(execute).bind("self", "params", "ctx")
    except TypeError as error:
        found = f"execute{inspect.signature(execute)}"
        raise wrong(
            cls,
            f"`{found}` can't be called with params and context ({error})",
            "Write `async def execute(self, params, ctx)`.",
        ) from None
    try:
        inspect.signature(cls.__init__).bind("self")
    except TypeError as error:
        raise wrong(
            cls,
            f"its `__init__` needs arguments ({error})",
            "The engine makes an instance per attempt without any; move them to Params.",
        ) from None


def _said(cls: type[BaseNode], word: str) -> object:
    """An attribute as the author wrote it, which may be anything."""
    return getattr(cls, word)


def _check_words(cls: type[BaseNode]) -> None:
    name = _said(cls, "name") or cls.__name__
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise wrong(
            cls,
            f"the name {name!r} can't be used",
            "A name is 1 to 128 letters, digits, `_`, `.`, `:` or `-`, and begins with a letter or `_`.",
        )
    effect = _said(cls, "effect")
    if not isinstance(effect, Effect):
        options = ", ".join(f"Effect.{e.name}" for e in Effect)
        raise wrong(cls, f"`effect = {effect!r}` is no effect", f"Use one of {options}.")
    on_doubt = _said(cls, "on_doubt")
    if on_doubt not in DOUBT_POLICIES:
        options = ", ".join(f'"{policy}"' for policy in DOUBT_POLICIES)
        raise wrong(cls, f"`on_doubt = {on_doubt!r}` is no policy", f"Use one of {options}.")
    version = _said(cls, "class_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise wrong(cls, f"`class_version = {version!r}` is no version", "Use a whole number from 1.")
    cpu = _said(cls, "cpu")
    if not isinstance(cpu, bool):
        raise wrong(cls, f"`cpu = {cpu!r}` is neither True nor False", "Use one of them.")
    if cpu and inspect.iscoroutinefunction(cls.execute):
        raise wrong(
            cls,
            "`cpu = True` and an `async` execute",
            "Write `def execute(self, params, ctx)`: plain code runs in a process of its own.",
        )
    _check_names(cls, "routes", '["step_a", "step_b"]', "node id or label")
    _check_names(cls, "may_use", '["Fetch", "SumUp"]', "node class")
    most = _said(cls, "max_nodes")
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= PLAN_NODES_MAX:
        raise wrong(
            cls,
            f"`max_nodes = {most!r}` is no size of a plan",
            f"Use a whole number from 1 to {PLAN_NODES_MAX:,}.",
        )


def _check_names(cls: type[BaseNode], word: str, example: str, what: str) -> None:
    names = _said(cls, word)
    if names is None or names == ANY:
        return
    if isinstance(names, str):
        raise wrong(
            cls, f"`{word} = {names!r}` is a text", f"Write a list: `{word} = [{names!r}]`, or `ANY`."
        )
    if not isinstance(names, list | tuple):
        raise wrong(cls, f"`{word} = {names!r}` is no list", f"Write `{word} = {example}`, or `ANY`.")
    items = cast("Sequence[object]", names)
    bad = next((name for name in items if not isinstance(name, str) or not name), None)
    if bad is not None or not items:
        found = "is empty" if not items else f"holds {bad!r}"
        raise wrong(cls, f"`{word}` {found}", f"Name at least one {what}, each a text that is not empty.")


def _params_model(cls: type[BaseNode]) -> type[BaseModel]:
    own: object = cls.__dict__.get("Params")
    if own is None and "execute" in cls.__dict__:
        own = _annotated_params(cls)
    model = own if own is not None else _said(cls, "Params")
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise wrong(
            cls,
            f"`Params` is {model!r}, no pydantic model",
            "Write `class Params(BaseModel): ...` inside the class, or annotate `params` with a model.",
        )
    return _forbidding(model)


def _annotated_params(cls: type[BaseNode]) -> object:
    """The model that `execute` annotates its params with; None where it says nothing that counts."""
    parameters = list(inspect.signature(cls.execute).parameters.values())
    written: object = parameters[1].annotation if len(parameters) > 1 else None
    if isinstance(written, str):
        module = sys.modules.get(cls.__module__)
        around = vars(module) if module else {}
        carrier = types.SimpleNamespace(__annotations__={"params": written})
        try:
            written = get_type_hints(carrier, globalns=around, localns=dict(vars(cls)))["params"]
        except NameError as error:
            raise wrong(
                cls,
                f"the annotation of `params` can't be found ({error})",
                f"Write `Params = {written}` inside the class, after the model was defined or imported.",
            ) from None
    if written in (None, inspect.Parameter.empty, Any, BaseModel):
        return None
    return written


def _forbidding(model: type[BaseModel]) -> type[BaseModel]:
    """The same model, refusing unknown fields unless its author decided otherwise."""
    if "extra" in model.model_config:
        return model
    kept = {"__module__": model.__module__, "__qualname__": model.__qualname__, "__doc__": model.__doc__}
    return types.new_class(model.__name__, (model,), {"extra": "forbid"}, lambda body: body.update(kept))


def _check_output(cls: type[BaseNode]) -> None:
    output = _said(cls, "Output")
    if output is not None and not (isinstance(output, type) and issubclass(output, BaseModel)):
        raise wrong(
            cls,
            f"`Output` is {output!r}, no pydantic model",
            "Write `class Output(BaseModel): ...`, or leave it out: then the output may be anything JSON.",
        )


def _declare(cls: type[BaseNode]) -> ClassDeclaration:
    if cls.is_abstract:
        raise wrong(
            cls, "it is abstract", "Only a class with an `execute` of its own can be used in a document."
        )
    summary, description = _doc(cls)
    return ClassDeclaration(
        name=cls.class_name(),
        class_version=cls.class_version,
        effect=cls.effect,
        on_doubt=cls.on_doubt,
        routes=_names(cls.routes),
        may_use=_names(cls.may_use),
        max_nodes=cls.max_nodes,
        params_schema=_schema(cls, cls.Params, "Params"),
        output_schema=_schema(cls, cls.Output, "Output") if cls.Output is not None else None,
        title=cls.title or _title(cls.class_name()),
        summary=summary,
        description=description,
        family=cls.family,
        icon=cls.icon,
    )


def _names(written: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if written is None else (ANY,) if written == ANY else tuple(dict.fromkeys(written))


def _schema(cls: type[BaseNode], model: type[BaseModel], word: str) -> dict[str, Any]:
    try:
        return model.model_json_schema(
            mode="validation" if word == "Params" else "serialization", by_alias=True
        )
    except PydanticUserError as error:
        raise wrong(
            cls,
            f"no JSON Schema can be made from `{word}` ({error})",
            "Use types that JSON has, or Annotated ones.",
        ) from error


def _doc(cls: type[BaseNode]) -> tuple[str, str]:
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    head, _, rest = text.partition("\n\n")
    return " ".join(head.split()), rest.strip()


def _title(name: str) -> str:
    short = name.removesuffix("Node") or name
    words = [w if w.isupper() and len(w) > 1 else w.lower() for w in _WORD.findall(short)]
    text = " ".join(words)
    return text[:1].upper() + text[1:]
