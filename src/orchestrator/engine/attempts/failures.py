"""An exception of a node's code as the journal keeps it. Storing an error can't fail, whatever the error is."""

import sys
from typing import Any

import msgspec

from orchestrator.engine.redaction import Redactor
from orchestrator.errors import (
    LimitExceeded,
    NodeError,
    NotFound,
    OrchestratorError,
    StepMismatch,
    UsageError,
)
from orchestrator.kernel.state import TaskState
from orchestrator.kernel.values import ErrorInfo

MESSAGE_CHARACTERS_MAX = 4_000


def error_info(error: BaseException, task: TaskState, redactor: Redactor) -> ErrorInfo:
    """Type, message and place of the error; secrets replaced, odd characters escaped, long texts cut."""
    return ErrorInfo(
        type=error_type(error),
        message=clean(redactor.redact(describe(error))),
        retryable=is_retryable(error),
        path=task.path,
        node=task.node,
        attempt=task.attempt,
    )


def step_error_info(error: BaseException, task: TaskState, redactor: Redactor) -> ErrorInfo:
    """As `error_info`, with the class of the error, so that the step can fail in the same way again."""
    name = f"{type(error).__module__}:{type(error).__qualname__}"
    details = {"class": msgspec.Raw(msgspec.json.encode(clean(name)))}
    return msgspec.structs.replace(error_info(error, task, redactor), details=details)


def raise_again(info: ErrorInfo) -> Exception:
    """The recorded failure of a step as an exception of its own class, so that the code's `except` finds it again.

    The class is only looked up among the modules that are loaded, never imported. If it isn't there (the code that
    raised it is gone) or is no Exception, the failure comes as a RecordedFailure.
    """
    found: Any = None
    if info.details is not None and "class" in info.details:
        module, _, name = msgspec.json.decode(info.details["class"], type=str).partition(":")
        found = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return RecordedFailure(info)
    again = found.__new__(found)
    again.args = (info.message,)
    return again


class RecordedFailure(NodeError):
    """A step's recorded failure whose own class is no longer known."""

    code = "step_failed"
    retryable = False

    def __init__(self, error: ErrorInfo) -> None:
        self.error = error
        super().__init__(f"{error.type}: {error.message}")


_POINTLESS = (UsageError, StepMismatch, NotFound, LimitExceeded, SystemExit, KeyboardInterrupt)
"""What comes out the same at every try."""


def error_type(error: BaseException) -> str:
    """What `retry_on` and `on_error` compare with: our code, or the exception's class name."""
    return error.code if isinstance(error, OrchestratorError) else clean(type(error).__name__)


def is_retryable(error: BaseException) -> bool:
    """Whether another try may come out otherwise."""
    if isinstance(error, NodeError):
        return error.retryable
    return not isinstance(error, _POINTLESS)


def describe(error: BaseException) -> str:
    """The error's own words, neither redacted nor cleaned; never fails."""
    try:
        if isinstance(error, SystemExit):
            return f"the node's code called sys.exit({error.code!r})"
        return str(error) or type(error).__name__
    except BaseException as broken:  # noqa: BLE001 -- a user's exception may fail to describe itself, or even exit
        return f"(the error can't be shown: its own text raised {type(broken).__name__})"


def clean(text: str) -> str:
    """Text that every store, log and terminal can take: no NUL, no lone surrogates, not too long."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if len(text) > MESSAGE_CHARACTERS_MAX:
        text = text[:MESSAGE_CHARACTERS_MAX] + "… (cut)"
    return text
