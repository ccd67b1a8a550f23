"""CPU nodes, for the tests that run them in processes of their own."""

import ctypes
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator import BaseNode, Context, Effect, PermanentFailure, RetryLater, Route, Stop, node

HEAVY = "not of the worker's process"


class CrunchNode(BaseNode):
    """Say where it runs, and what it sees."""

    effect = Effect.PURE
    cpu = True

    class Params(BaseModel):
        number: int = 1

    def execute(self, params: Params, ctx: Context) -> Any:
        print("what nodes print is not what they answer")  # noqa: T201 -- that is the point
        ctx.log("crunching", number=params.number)
        ctx.progress(1, 2, "half")
        ctx.set_variables(seen=params.number)
        return {
            "pid": os.getpid(),
            "double": params.number * 2,
            "input": ctx.input,
            "path": ctx.path,
            "key": ctx.idempotency_key,
            "arrivals": [arrival.node for arrival in ctx.arrivals],
            "drawn": [ctx.random() < 1, str(ctx.uuid()), ctx.now().isoformat()],
            "stdin": os.read(0, 10).decode(),
        }


class MisbehaveNode(BaseNode):
    """Do what a process can do to itself."""

    effect = Effect.READ
    cpu = True

    class Params(BaseModel):
        how: str
        file: str = ""

    def execute(self, params: Params, ctx: Context) -> Any:
        match params.how:
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(7)
            case "sys.exit":
                raise SystemExit(3)
            case "once":
                if not Path(params.file).exists():
                    Path(params.file).touch()
                    os._exit(1)
                return "the second time"
            case "hang":
                Path(params.file).write_text(str(os.getpid()))
                while True:
                    time.sleep(0.01)
            case "later" if ctx.attempt == 1:
                raise RetryLater("busy", delay_seconds=0)
            case "permanent":
                raise PermanentFailure("never")
            case "value":
                raise ValueError("no such value \x00")
            case "object":
                return {"x": object()}
            case "step":
                return ctx.step  # what it would await
            case "route":
                return Route("b", output={"x": 1}, reason="because", confidence=0.5)
            case "stop":
                return Stop(message="enough", output="stopped")
            case _:
                return "fine"


@node(effect=Effect.PURE, cpu=True)
def add_up(numbers: list[int]) -> int:
    """Add numbers."""
    return sum(numbers)


def hidden() -> type[BaseNode]:
    """A class that no other process can find."""

    class HiddenNode(BaseNode):
        cpu = True

        def execute(self, params: Any, ctx: Context) -> Any:
            return None

    return HiddenNode
