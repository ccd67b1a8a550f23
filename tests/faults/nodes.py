"""Node classes of the fault tests, loaded with `--nodes`. What they do to the world is a line in an outside file.

The ledger (LEDGER in the environment) is only ever appended to and synced, so that it survives whatever kills the
process: one line per execution of a side effect, with the idempotency key that it was given.
"""

import asyncio
import base64
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator import BaseNode, Context, Effect, RetryLater, Route, Stop


def note(kind: str, ctx: Context, key: str, step: str = "") -> None:
    """One line in the ledger, on the disk before this returns."""
    facts = {"kind": kind, "run": ctx.run_id, "path": ctx.path, "step": step, "key": key, "pid": os.getpid()}
    line = json.dumps({**facts, "attempt": ctx.attempt, "at": time.time()}) + "\n"
    handle = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


class Work(BaseModel):
    """How long it takes, half before and half after the side effect, and what comes out."""

    seconds: float = 0.02
    value: Any = None


def result(ctx: Context, value: Any) -> dict[str, Any]:
    return {"path": ctx.path, "value": value}


class LedgerNode(BaseNode):
    """Writes one line, on the event loop."""

    effect = Effect.WRITE
    Params = Work

    async def execute(self, params: Work, ctx: Context) -> Any:
        await asyncio.sleep(params.seconds / 2)
        await asyncio.to_thread(note, "write", ctx, ctx.idempotency_key)
        await asyncio.sleep(params.seconds / 2)
        return result(ctx, params.value)


class ThreadNode(BaseNode):
    """Writes one line, in a thread."""

    effect = Effect.WRITE
    Params = Work

    def execute(self, params: Work, ctx: Context) -> Any:
        time.sleep(params.seconds / 2)
        note("write", ctx, ctx.idempotency_key)
        time.sleep(params.seconds / 2)
        return result(ctx, params.value)


class PayNode(BaseNode):
    """Must not happen twice."""

    effect = Effect.IRREVERSIBLE
    Params = Work

    async def execute(self, params: Work, ctx: Context) -> Any:
        await asyncio.sleep(params.seconds / 2)
        await asyncio.to_thread(note, "irreversible", ctx, ctx.idempotency_key)
        await asyncio.sleep(params.seconds / 2)
        return result(ctx, params.value)


class PayInStepNode(BaseNode):
    """A step that must not happen twice, between two that may."""

    effect = Effect.WRITE
    Params = Work

    async def execute(self, params: Work, ctx: Context) -> Any:
        def line(kind: str, step: str) -> str:
            time.sleep(params.seconds / 6)
            note(kind, ctx, f"{ctx.idempotency_key}/{step}", step)
            time.sleep(params.seconds / 6)
            return step

        done = [await ctx.step("reserve", line, "write", "reserve")]
        done.append(await ctx.step("pay", line, "irreversible", "pay", effect=Effect.IRREVERSIBLE))
        done.append(await ctx.step("ship", line, "write", "ship"))
        return result(ctx, done)


class StepsNode(BaseNode):
    """Two steps with a sleep between them."""

    effect = Effect.WRITE
    Params = Work

    async def execute(self, params: Work, ctx: Context) -> Any:
        def line(step: str) -> str:
            time.sleep(params.seconds / 4)
            note("write", ctx, f"{ctx.idempotency_key}/{step}", step)
            time.sleep(params.seconds / 4)
            return step

        first = await ctx.step("first", line, "first")
        await ctx.sleep(params.seconds)
        second = await ctx.step("second", line, "second")
        return result(ctx, [first, second])


class Trying(Work):
    """Fails this many times before it succeeds."""

    fails: int = 2
    later: bool = False


class FlakyNode(BaseNode):
    """Fails at first; what failed had no effect."""

    effect = Effect.WRITE
    Params = Trying

    async def execute(self, params: Trying, ctx: Context) -> Any:
        await asyncio.sleep(params.seconds)
        if ctx.attempt <= params.fails:
            if params.later:
                raise RetryLater("not yet", delay_seconds=0.05)
            raise ConnectionError(f"attempt {ctx.attempt} of {params.fails} that fail")
        await asyncio.to_thread(note, "write", ctx, ctx.idempotency_key)
        return result(ctx, params.value)


# ---------------------------------------------------------------------------------------------- nodes that misbehave


class UnspeakableError(Exception):
    """Can't say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class UnspeakableToTheEnd(Exception):
    """Leaves the interpreter when it is asked what it is."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Misbehaving(BaseModel):
    """What it does."""

    how: str


class BadNode(BaseNode):
    """Does what no node should, on the event loop."""

    effect = Effect.WRITE
    Params = Misbehaving

    async def execute(self, params: Misbehaving, ctx: Context) -> Any:
        if params.how == "hang":
            await asyncio.Event().wait()
        if params.how == "swallow cancellation":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue
        if params.how == "burn":
            while True:
                pass
        if params.how == "cancel itself":
            raise asyncio.CancelledError
        if params.how == "leave a task behind":
            self._behind = asyncio.get_running_loop().create_task(_fail_later())
            return "done"
        if params.how == "exit in a task group":
            async with asyncio.TaskGroup() as group:
                group.create_task(_fail_later())
        if params.how == "exit in gather":
            await asyncio.gather(_fail_later(), asyncio.sleep(0.1))
        if params.how == "sleep for ages":
            await ctx.sleep(1e300)
        if params.how == "sleep for no number":
            await ctx.sleep(float("nan"))
        if params.how == "later for ages":
            raise RetryLater("in ages", delay_seconds=float("inf"))
        if params.how == "later for no number":
            raise RetryLater("whenever", delay_seconds=float("nan"))
        if params.how == "odd signal":
            await ctx.wait_for_signal("odd \x00 \ud800")
        if params.how == "odd child":
            await ctx.run_workflow("odd \x00 \ud800")
        if params.how == "odd key":
            await ctx.step("step", int, key="odd \ud800")
        if params.how == "odd variable":
            ctx.set_variables(**{"odd \x00\ud800": 1})
        if params.how == "odd step error":
            await ctx.step("step", misbehave, "odd type")
        if params.how == "unspeakable in an irreversible step":
            return await ctx.step("step", misbehave, "unspeakable", effect=Effect.IRREVERSIBLE)
        if params.how == "step with NUL":
            return await ctx.step("odd\x00name\ud800", lambda: "fine")
        if params.how == "log":
            for _ in range(3):
                ctx.log("odd \x00 \ud800 " + "x" * 100_000)
            ctx.progress(float("nan"), float("inf"), "\ud800\x00")
            return "done"
        return misbehave(params.how)


class BadThreadNode(BaseNode):
    """Does what no node should, in a thread."""

    effect = Effect.WRITE
    Params = Misbehaving

    def execute(self, params: Misbehaving, ctx: Context) -> Any:
        return misbehave(params.how)


async def _fail_later() -> None:
    await asyncio.sleep(0.01)
    raise SystemExit(4)


def misbehave(how: str) -> Any:
    match how:
        case "20 MiB":
            return "x" * (20 * 1024 * 1024)
        case "1 MiB":
            return {"text": "x" * (1024 * 1024)}
        case "not JSON":
            return object()
        case "NaN":
            return {"deep": [1, float("nan")]}
        case "infinite":
            return float("inf")
        case "own loop":
            value: list[Any] = []
            value.append(value)
            return value
        case "deep":
            nested: list[Any] = []
            for _ in range(100_000):
                nested = [nested]
            return nested
        case "64 deep":
            moderate: list[Any] = []
            for _ in range(500):
                moderate = [moderate]
            return moderate
        case "surrogate":
            return {"text": "lone \ud800"}
        case "surrogate key":
            return {"lone \ud800": 1}
        case "NUL":
            return {"text": "a\x00b", "k\x00": 1}
        case "huge int":
            return 10**5000
        case "65 bits":
            return 2**70
        case "number keys":
            return {1: "a", "1": "b"}
        case "object keys":
            return {(1, 2): "a"}
        case "exit":
            sys.exit("bye")
        case "exit 0":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "base exception":
            raise BaseException("the base of all")
        case "generator exit":
            raise GeneratorExit
        case "stop iteration":
            raise StopIteration
        case "recursion":
            return misbehave("recursion")
        case "unspeakable":
            raise UnspeakableError
        case "unspeakable to the end":
            raise UnspeakableToTheEnd
        case "error with NUL":
            raise ValueError("odd \x00 text")
        case "error with surrogate":
            raise ValueError("odd \ud800 text")
        case "huge error":
            raise ValueError("x" * 5_000_000)
        case "group":
            raise ExceptionGroup("two at once", [ValueError("one"), TypeError("two")])
        case "odd type":
            raise type("Odd\\Type\u202e", (Exception,), {})("odd")
        case "sleep":
            time.sleep(60)
        case "odd route":
            return Route("odd \x00 \ud800", reason="why \x00 \ud800")
        case "odd stop":
            return Stop(succeed=False, message="stopped \x00 \ud800")
        case "huge stop":
            return Stop(succeed=False, message="x" * 5_000_000)
        case "exit with an odd code":
            raise SystemExit(UnspeakableError())
        case _:
            raise ValueError(f"unknown way to misbehave: {how}")
    return None


class DieNode(BaseNode):
    """Takes its whole process with it, as long as the file of that name isn't there."""

    effect = Effect.WRITE

    class Params(BaseModel):
        unless: str

    async def execute(self, params: Params, ctx: Context) -> Any:
        await asyncio.to_thread(note, "write", ctx, ctx.idempotency_key)
        if not await asyncio.to_thread(Path(params.unless).exists):
            os.kill(os.getpid(), signal.SIGKILL)
        return "lived"


# --------------------------------------------------------------------------------------------------------- secrets


class TellingNode(BaseNode):
    """Lets a secret out in every way that it knows."""

    effect = Effect.WRITE

    class Params(BaseModel):
        secret: str
        how: str

    async def execute(self, params: Params, ctx: Context) -> Any:
        secret, raw = params.secret, params.secret.encode()
        if params.how == "raise":
            raise RuntimeError(f"login with {secret} was refused: {secret!r}, {[secret]}, {raw!r}")
        if params.how == "raise in step":
            return await ctx.step("login", _refused, secret)
        ctx.log(f"the password is {secret}")
        ctx.progress(1, 2, f"using {secret}")
        ctx.set_variables(kept=f"var {secret}")
        ctx.set_variables(in_list=[secret, {"deep": secret}])
        told = await ctx.step("tell", lambda: {"step result": secret})
        return {
            "plain": secret,
            "inside": f"x{secret}y",
            "base64": base64.b64encode(raw).decode(),
            "urlsafe": base64.urlsafe_b64encode(raw).decode(),
            "bytes": raw,
            secret: "as a key",
            "told": told,
        }


def _refused(secret: str) -> None:
    raise PermissionError(f"step refused {secret}", [secret])
