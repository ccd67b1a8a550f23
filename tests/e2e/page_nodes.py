"""Node classes of the page's tests, loaded with `--nodes`: one must not happen twice, one needs a file."""

import os
from pathlib import Path

from pydantic import BaseModel

from orchestrator import BaseNode, Context, Continue, Effect, PermanentFailure, Plan, Usage


class ChargeCardNode(BaseNode):
    """Charges a card, and loses the answer."""

    effect = Effect.IRREVERSIBLE

    async def execute(self, params: BaseModel, ctx: Context) -> None:
        raise ConnectionError("the bank closed the connection")


class NeedsFileNode(BaseNode):
    """Fails for good until a file of this name lies in the folder of the test."""

    effect = Effect.READ

    class Params(BaseModel):
        name: str

    def execute(self, params: Params, ctx: Context) -> dict[str, str]:
        wanted = Path(os.environ["PAGE_TEST_FOLDER"]) / params.name
        if not wanted.exists():
            raise PermanentFailure(f"there is no file {params.name}")
        return {"found": params.name}


class ReadPhotoNode(BaseNode):
    """Reads a photo; every tenth isn't one."""

    effect = Effect.READ

    class Params(BaseModel):
        number: int

    def execute(self, params: Params, ctx: Context) -> dict[str, int]:
        if params.number % 10 == 7:
            raise PermanentFailure(f"photo {params.number} is no image")
        return {"photo": params.number}


class BookNode(BaseNode):
    """Books something; the one that is called `none` can't be had."""

    class Params(BaseModel):
        what: str = ""

    def execute(self, params: Params, ctx: Context) -> dict[str, str]:
        if params.what == "none":
            raise PermanentFailure("there is none left")
        return {"booked": params.what}


class AskModelNode(BaseNode):
    """Asks a model, which costs two cents."""

    async def execute(self, params: BaseModel, ctx: Context) -> str:
        async def ask() -> str:
            return "answer"

        return await ctx.step("ask", ask, reserve=Usage(tokens=100, cost_usd=0.02))


class NextChapterNode(BaseNode):
    """Goes on as another run, once."""

    class Params(BaseModel):
        chapter: int

    def execute(self, params: Params, ctx: Context) -> object:
        return Continue({"chapter": 2}) if params.chapter == 1 else "the end"


class ResearchNode(BaseNode):
    """Lays a node for each source, and one that sums up."""

    effect = Effect.WRITE
    may_use = ("SetNode", "ReadPhotoNode", "WaitNode")

    class Params(BaseModel):
        sources: list[int]

    def execute(self, params: Params, ctx: Context) -> Plan:
        reads = {
            f"read_{number}": {
                "class": "ReadPhotoNode",
                "params": {"number": number},
                "next_node": "sum_up",
            }
            for number in params.sources
        }
        begin = {"class": "SetNode", "params": {"values": {"ok": True}}, "next_node": list(reads)}
        last = {"class": "SetNode", "params": {"values": {"read": len(reads)}}}
        return Plan(
            {"begin": begin, **reads, "sum_up": last},
            start_at="begin",
            reason=f"{len(reads)} sources fit",
        )
