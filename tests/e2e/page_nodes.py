"""Node classes of the page's tests, loaded with `--nodes`: one must not happen twice, one needs a file."""

import os
from pathlib import Path

from pydantic import BaseModel

from orchestrator import BaseNode, Context, Effect, PermanentFailure


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
