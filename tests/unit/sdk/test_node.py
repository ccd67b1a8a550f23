"""What is checked when a node class is made, and what it declares."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from orchestrator.sdk import (
    ANY,
    BaseNode,
    Context,
    Effect,
    InvalidParams,
    NoParams,
    OutputNotStorable,
    UsageError,
)


class Amount(BaseModel):
    amount: int
    currency: str = "EUR"


class ChargeNode(BaseNode):
    """Charge the customer's
    card.

    Twice is not nice.
    """

    effect = Effect.IRREVERSIBLE
    routes = ("paid", "refused")
    class_version = 3
    family = "money"
    icon = "coin"

    class Params(BaseModel):
        amount: int

    class Output(BaseModel):
        receipt: str

    async def execute(self, params: Params, ctx: Context) -> Output:
        return self.Output(receipt=f"r-{params.amount}")


def test_a_class_declares_what_it_says() -> None:
    made = ChargeNode.declaration()
    assert (made.name, made.class_version, made.effect, made.routes) == (
        "ChargeNode",
        3,
        Effect.IRREVERSIBLE,
        ("paid", "refused"),
    )
    assert (made.title, made.summary, made.description) == (
        "Charge",
        "Charge the customer's card.",
        "Twice is not nice.",
    )
    assert (made.family, made.icon) == ("money", "coin")
    assert made.params_schema is not None
    assert made.params_schema["required"] == ["amount"]
    assert made.params_schema["additionalProperties"] is False
    assert made.output_schema is not None
    assert list(made.output_schema["properties"]) == ["receipt"]
    assert ChargeNode.declaration() is made


def test_a_class_that_says_nothing_gets_the_safe_answers() -> None:
    class PlainNode(BaseNode):
        def execute(self, params: Any, ctx: Context) -> Any:
            return None

    made = PlainNode.declaration()
    assert (made.name, made.effect, made.routes, made.class_version) == ("PlainNode", Effect.WRITE, None, 1)
    assert made.output_schema is None
    assert PlainNode.Params is NoParams
    assert not PlainNode.is_async
    assert ChargeNode.is_async


def test_the_name_is_not_inherited_but_the_words_are() -> None:
    class FirstNode(BaseNode):
        name = "first"
        effect = Effect.READ

        def execute(self, params: Any, ctx: Context) -> Any:
            return None

    class SecondNode(FirstNode):
        pass

    assert (FirstNode.class_name(), SecondNode.class_name()) == ("first", "SecondNode")
    assert SecondNode.declaration().effect is Effect.READ


def test_params_may_be_annotated_in_place_of_nested() -> None:
    class PayNode(BaseNode):
        async def execute(self, params: Amount, ctx: Context) -> int:
            return params.amount

    assert issubclass(PayNode.Params, Amount)
    params = PayNode.parse_params({"amount": 5})
    assert isinstance(params, Amount)
    assert (params.amount, params.currency) == (5, "EUR")


def test_an_overriding_execute_brings_its_own_params() -> None:
    class Base(BaseNode, abstract=True):
        class Params(BaseModel):
            other: int

    class PayNode(Base):
        async def execute(self, params: Amount, ctx: Context) -> int:
            return params.amount

    class KeepNode(Base):
        async def execute(self, params: Any, ctx: Context) -> int:
            return params.other

    assert PayNode.parse_params({"amount": 5})
    assert KeepNode.parse_params({"other": 5})


def test_unknown_params_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidParams) as caught:
        ChargeNode.parse_params({"amuont": 5})
    assert [(f.pointer, f.suggestion) for f in caught.value.faults] == [
        ("/amount", None),
        ("/amuont", "amount"),
    ]
    assert "did you mean `amount`?" in str(caught.value)


def test_a_model_that_allows_more_keeps_to_that() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    class OpenNode(BaseNode):
        Params = Open

        def execute(self, params: Open, ctx: Context) -> Any:
            return params.model_extra

    assert OpenNode.Params is Open
    assert OpenNode.parse_params({"x": 1}).model_extra == {"x": 1}


def test_the_authors_model_itself_is_left_alone() -> None:
    class PayNode(BaseNode):
        Params = Amount

        def execute(self, params: Amount, ctx: Context) -> Any:
            return None

    with pytest.raises(InvalidParams):
        PayNode.parse_params({"amount": 1, "more": 2})
    assert Amount.model_validate({"amount": 1, "more": 2}).amount == 1


def test_params_cannot_echo_the_value_that_was_wrong() -> None:
    with pytest.raises(InvalidParams) as caught:
        ChargeNode.parse_params({"amount": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_output_model_holds_for_maps_too() -> None:
    assert ChargeNode.dump_output({"receipt": "r-1"}) == {"receipt": "r-1"}
    assert ChargeNode.dump_output(ChargeNode.Output(receipt="r-1")) == {"receipt": "r-1"}
    with pytest.raises(OutputNotStorable, match="/receipt"):
        ChargeNode.dump_output({"receipt": 5})


def test_without_an_output_model_a_model_becomes_a_map_and_the_rest_stays() -> None:
    class AnyNode(BaseNode):
        def execute(self, params: Any, ctx: Context) -> Any:
            return None

    assert AnyNode.dump_output(Amount(amount=1)) == {"amount": 1, "currency": "EUR"}
    assert AnyNode.dump_output([1, "a"]) == [1, "a"]


def test_an_effect_may_come_from_the_params() -> None:
    class HttpNode(BaseNode):
        class Params(BaseModel):
            method: str

        @classmethod
        def effect_for(cls, params: Any) -> Effect:
            return Effect.READ if params.method == "GET" else cls.effect

        def execute(self, params: Params, ctx: Context) -> Any:
            return None

    assert HttpNode.effect_for(HttpNode.parse_params({"method": "GET"})) is Effect.READ
    assert HttpNode.effect_for(HttpNode.parse_params({"method": "POST"})) is Effect.WRITE
    assert ChargeNode.effect_for(None) is Effect.IRREVERSIBLE


def no_execute() -> type:
    return type("BadNode", (BaseNode,), {})


def _made(**body: Any) -> Callable[[], type]:
    def execute(self: Any, params: Any, ctx: Any) -> Any:
        return None

    return lambda: type("BadNode", (BaseNode,), {"execute": execute, **body})


def _one_argument(self: Any, params: Any) -> Any:
    return None


def _needs_more(self: Any, params: Any, ctx: Any, more: Any) -> Any:
    return None


def _generator(self: Any, params: Any, ctx: Any) -> Any:
    yield 1


def _dict_params(self: Any, params: dict[str, Any], ctx: Any) -> Any:
    return None


def _unknown_params(self: Any, params: Any, ctx: Any) -> Any:
    return None


_unknown_params.__annotations__["params"] = "Nowhere"


def _init(self: Any, size: int) -> None:
    pass


BAD: dict[str, tuple[Callable[[], type], str]] = {
    "no execute": (no_execute, "no `execute`"),
    "too few": (_made(execute=_one_argument), "can't be called with params and context"),
    "too many": (_made(execute=_needs_more), "can't be called with params and context"),
    "no function": (_made(execute=5), "no plain method"),
    "generator": (_made(execute=_generator), "generator"),
    "init": (_made(__init__=_init), "`__init__` needs arguments"),
    "params": (_made(Params=dict), "no pydantic model"),
    "annotated params": (_made(execute=_dict_params), "no pydantic model"),
    "lost params": (_made(execute=_unknown_params), "Write `Params = Nowhere`"),
    "output": (_made(Output=dict), "`Output` is"),
    "routes as text": (_made(routes="step_a"), r"Write a list: `routes = \['step_a'\]`"),
    "routes with a number": (_made(routes=["a", 5]), "holds 5"),
    "no routes": (_made(routes=[]), "is empty"),
    "routes as a set": (_made(routes={"a"}), "no list"),
    "effect": (_made(effect="write"), "Effect.WRITE"),
    "version": (_made(class_version=0), "from 1"),
    "cpu": (_made(cpu="yes"), "`cpu = 'yes'` is neither True nor False"),
    "name": (_made(name="a b"), "can't be used"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_with_class_cause_and_cure(case: str) -> None:
    make, said = BAD[case]
    with pytest.raises(UsageError, match=said) as caught:
        make()
    assert "BadNode" in str(caught.value)


def test_any_is_declared_as_a_star() -> None:
    made = _made(routes=ANY)()
    assert issubclass(made, BaseNode)
    assert made.declaration().routes == ("*",)


def test_a_params_model_without_a_schema_is_named_when_declared() -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: ClassVar[int] = 1
        when: Callable[[], int]

    made = _made(Params=Odd)()
    assert issubclass(made, BaseNode)
    with pytest.raises(UsageError, match="no JSON Schema can be made from `Params`"):
        made.declaration()


def test_an_abstract_class_declares_nothing() -> None:
    class Base(BaseNode, abstract=True):
        pass

    with pytest.raises(UsageError, match="abstract"):
        Base.declaration()
