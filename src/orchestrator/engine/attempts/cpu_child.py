"""The other side of `cpu`: a process that runs plain `execute` of `cpu = True` classes, one after the other.

It talks in frames (four bytes of length, then JSON) over the pipes that were its stdin and stdout; nothing is pickled.
What a node asks its context for is asked of the worker. When the pipe closes, the worker is gone, and this process
ends.
"""

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from queue import SimpleQueue
from typing import IO, Any
from uuid import UUID

import msgspec
from pydantic import BaseModel

from orchestrator.engine.attempts.failures import clean, describe, error_type, is_retryable
from orchestrator.engine.attempts.payloads import to_json
from orchestrator.errors import RetryLater, UsageError
from orchestrator.sdk import modules
from orchestrator.sdk.context import Arrival
from orchestrator.sdk.node import BaseNode
from orchestrator.sdk.results import Plan, Route, Stop

FILE_MODULES = "orchestrator_file_"
"""What the names of modules begin with that were loaded from a file; see `sdk.modules`."""

SEEN = frozenset(
    {
        *(
            "run_id",
            "workflow",
            "version",
            "node_id",
            "path",
            "attempt",
            "max_attempts",
            "labels",
            "sub_depth",
        ),
        *(
            "input",
            "previous",
            "arrivals",
            "variables",
            "params_written",
            "allowed_routes",
            "idempotency_key",
        ),
    }
)
"""Of a context what a node looks at."""

AWAITED = ("step", "gather", "sleep", "sleep_until", "wait_for_signal", "run_workflow")
"""Of a context what must be awaited, and so can't be used in plain code."""


def write_frame(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    """Send a message. Raises what `to_json` raises, and then sends nothing."""
    data = to_json(message)
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None if the other side is gone."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    data = stream.read(size)
    return msgspec.json.decode(data) if len(data) == size else None


class ChildContext:
    """What a CPU node sees of its run: everything but what must be awaited (see `sdk.Context`)."""

    cancelled = False
    """A CPU node that is to end is ended, with its process."""

    def __init__(
        self, ask: Callable[[Mapping[str, Any]], Any], tell: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._seen: dict[str, Any] = {}
        self.new_variables: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in AWAITED:
            raise UsageError(
                f"ctx.{name} can't be used in a CPU node: its code is plain, and runs in another process"
            )
        if name not in self._seen:
            value = self._ask({"get": name})
            if name == "arrivals":
                value = tuple(Arrival(*one) for one in value)
            elif name == "allowed_routes":
                value = tuple(value)
            self._seen[name] = value
        return self._seen[name]

    def step_idempotency_key(self, name: str, /) -> str:
        return f"{self.idempotency_key}#{name}"

    def log(self, message: str, /, *, level: str = "info", **fields: Any) -> None:
        tail = "".join(f" {name}={value!r}" for name, value in fields.items())
        self._tell({"log": clean(f"{message}{tail}"), "level": level})

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self._tell({"progress": [done, total, None if message is None else clean(message)]})

    def set_variables(self, /, **values: Any) -> None:
        self.new_variables.update(values)

    def now(self) -> datetime:
        return datetime.fromisoformat(self._ask({"draw": "now"}))

    def random(self) -> float:
        return self._ask({"draw": "random"})

    def uuid(self) -> UUID:
        return UUID(self._ask({"draw": "uuid"}))


def find_class(module: str, file: str | None, qualname: str) -> type[BaseNode]:
    """The class of a job, its module imported if need be.

    Raises:
        UsageError: it isn't there, or its module can't be imported.
    """
    if module.startswith(FILE_MODULES) and file is not None:
        found: Any = modules.import_source(file)
    else:
        found = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, BaseNode)):
        raise UsageError(f"there is no node class {qualname} in {module}, as another process sees it")
    return found


def run(job: Mapping[str, Any], ctx: ChildContext) -> dict[str, Any]:
    """Do a job: the message that says how it ended. Whatever the node's code raises, `SystemExit` too, is a failure."""
    try:
        node_class = find_class(job["module"], job["file"], job["qualname"])
        params = node_class.parse_params(job["params"])
        result: Any = node_class().execute(params, ctx)  # pyright: ignore[reportArgumentType] -- the part that plain code can use
        done = {"done": _shape(node_class, result), "variables": ctx.new_variables}
        to_json(done)  # here, so that what can't be stored is this job's failure
    except BaseException as error:  # noqa: BLE001 -- the edge of the process: the worker records it
        failed: dict[str, Any] = {
            "failed": error_type(error),
            "message": clean(describe(error)),
            "retryable": is_retryable(error),
        }
        if isinstance(error, RetryLater):
            failed |= {"later": True, "delay": error.delay_seconds}
        return failed
    return done


def _shape(node_class: type[BaseNode], result: Any) -> dict[str, Any]:
    if isinstance(result, Plan):
        return {"type": "Plan", **result.document, "reason": result.reason}
    if isinstance(result, Route | Stop):
        output = (
            node_class.dump_output(result.output) if isinstance(result.output, BaseModel) else result.output
        )
        named = {field.name: getattr(result, field.name) for field in fields(result)}
        return {"type": type(result).__name__, **named, "output": output}
    return {"type": "plain", "output": node_class.dump_output(result)}


def main() -> None:
    """Serve until the worker is gone. What nodes print goes to stderr; stdin is empty for them."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
    speaking = threading.Lock()

    def listen() -> None:
        while (message := read_frame(source)) is not None:
            inbox.put(message)
        os._exit(0)  # whatever runs, nobody waits for it any more

    def tell(message: Mapping[str, Any]) -> None:
        with speaking:
            write_frame(sink, message)

    def ask(message: Mapping[str, Any]) -> Any:
        tell(message)
        return inbox.get()["value"]

    threading.Thread(target=listen, name="worker's pipe", daemon=True).start()
    while True:
        job = inbox.get()
        tell(run(job, ChildContext(ask, tell)))


if __name__ == "__main__":
    main()
