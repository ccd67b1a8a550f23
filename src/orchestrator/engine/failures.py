"""An exception of a node's code as the journal keeps it. Storing an error can't fail, whatever the error is."""

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
        message=redactor.redact(_message(error)),
        retryable=_retryable(error),
        path=task.path,
        node=task.node,
        attempt=task.attempt,
    )


_POINTLESS = (UsageError, StepMismatch, NotFound, LimitExceeded, SystemExit, KeyboardInterrupt)
"""What comes out the same at every try."""


def error_type(error: BaseException) -> str:
    """What `retry_on` and `on_error` compare with: our code, or the exception's class name."""
    return error.code if isinstance(error, OrchestratorError) else clean(type(error).__name__)


def _retryable(error: BaseException) -> bool:
    if isinstance(error, NodeError):
        return error.retryable
    return not isinstance(error, _POINTLESS)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 -- a user's exception may fail to describe itself, or even exit
        text = f"(the error can't be shown: its own text raised {type(broken).__name__})"
    if not text:
        text = type(error).__name__
    if isinstance(error, SystemExit):
        text = f"the node's code called sys.exit({error.code!r})"
    return clean(text)


def clean(text: str) -> str:
    """Text that every store, log and terminal can take: no NUL, no lone surrogates, not too long."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if len(text) > MESSAGE_CHARACTERS_MAX:
        text = text[:MESSAGE_CHARACTERS_MAX] + "… (cut)"
    return text
