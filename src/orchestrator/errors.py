"""Every exception that the package raises on purpose, in one tree.

Each class answers the question *what may the caller do now?* and has a stable `code`, keyword fields, and a message
that is built from those fields, so that logs, the API's problems and the command line say the same thing.

    OrchestratorError
    ├── UsageError               the call itself is wrong; correct it
    │   ├── InvalidInput         a run's input doesn't fit the workflow; every fault is listed
    │   └── InvalidRunFile       what was to be imported is no run file, is damaged, or holds what can't be
    ├── DefinitionError          a workflow document has faults; all of them are listed
    ├── NotFound, Conflict       the thing isn't there, or isn't in a state that allows this
    ├── LimitExceeded            a named limit, the value that broke it
    ├── StoreError
    │   ├── StoreUnavailable     nothing happened; repeat it
    │   ├── VersionConflict      somebody advanced the run; reload, decide again
    │   ├── Fenced               you no longer own the task
    │   ├── CommitUnknown        it may or may not have happened; repeat the same commit
    │   └── StoreIncompatible    the file or server belongs to a release that this one can't serve
    ├── NodeError                raised by or for a node's code
    │   ├── RetryLater           nothing happened, try again after a delay
    │   ├── PermanentFailure     do not try again
    │   ├── RouteNotAllowed      the node chose a way that it may not take
    │   ├── OutputNotStorable    what the node returned isn't JSON, or is too large
    │   ├── ExpressionFailed     an expression of the document could not be evaluated
    │   └── TaskTimeout          the attempt ran longer than its timeout
    ├── StepMismatch             the node's code changed under a recorded step
    └── InternalError            our bug, and says so
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class OrchestratorError(Exception):
    """The root: everything that the package raises on purpose."""

    code: ClassVar[str] = "error"


class UsageError(OrchestratorError):
    """The caller asked for something that can't be meant; the message says what to change."""

    code = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong (or, as a hint, doubtful) in a workflow document.

    `pointer` is an RFC 6901 JSON pointer to the place, "" for the whole document. `line` and `column`, from 1, are
    known of YAML texts.
    """

    pointer: str
    code: str
    message: str
    suggestion: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = f" (line {self.line}, column {self.column})" if self.line is not None else ""
        return f"{self.pointer or '/'}{where}: {self.message}"


class DefinitionError(OrchestratorError):
    """A workflow document can't be accepted; `faults` lists every reason at once, in document order."""

    code = "invalid_definition"

    def __init__(self, faults: Sequence[Fault], hints: Sequence[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self.hints = tuple(hints)
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(
            f"{len(self.faults)} {noun} in the workflow:\n" + "\n".join(f"  {f}" for f in self.faults)
        )


class InvalidInput(UsageError):
    """What a run was to start with can't be taken; `faults` lists every reason, with pointers from `/input` on."""

    code = "invalid_input"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults[:5]))


class InvalidRunFile(UsageError):
    """What was to be imported is no run file of ours, is damaged, or holds what can't be. Nothing was kept of it."""

    code = "invalid_run_file"


class NotFound(OrchestratorError):
    """There is no such thing; `suggestion` names the nearest one if there is any."""

    code = "not_found"

    def __init__(self, what: str, name: str, *, suggestion: str | None = None) -> None:
        self.what, self.name, self.suggestion = what, name, suggestion
        hint = f"; did you mean {suggestion!r}?" if suggestion else ""
        super().__init__(f"no {what} {name!r}{hint}")


class Conflict(OrchestratorError):
    """The thing is in a state that doesn't allow this; the message names the state and what would be allowed."""

    code = "conflict"

    def __init__(self, message: str, *, reason: str = "conflict") -> None:
        self.reason = reason
        super().__init__(message)


class LimitExceeded(OrchestratorError):
    """A named limit was broken. Nothing was changed."""

    code = "limit_exceeded"

    def __init__(self, limit: str, *, value: int, maximum: int, unit: str = "") -> None:
        self.limit, self.value, self.maximum, self.unit = limit, value, maximum, unit
        tail = f" {unit}" if unit else ""
        super().__init__(f"{limit}: {value:,}{tail} is more than the limit of {maximum:,}{tail}")


class StoreError(OrchestratorError):
    """Something about the store."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store could not be reached or could not write. Nothing happened; the call may be repeated."""

    code = "store_unavailable"


class VersionConflict(StoreError):
    """Somebody advanced the run first. Reload its tail and decide again."""

    code = "version_conflict"


class Fenced(StoreError):
    """The caller no longer owns a task that it stood on. Its result must be thrown away."""

    code = "fenced"


class CommitUnknown(StoreError):
    """The answer was lost. Repeat the same commit under the same id: a repeat gets the first answer."""

    code = "commit_unknown"


class StoreIncompatible(StoreError):
    """The data belongs to a newer release, or was changed by somebody else. Nothing was touched."""

    code = "store_incompatible"


class EncryptionKeyMissing(StoreIncompatible):
    """The data is sealed with a key that this process doesn't have. Nothing was touched."""

    code = "encryption_key_missing"

    def __init__(self, key_id: str, *, known: tuple[str, ...] = ()) -> None:
        self.key_id = key_id
        has = f"has only {', '.join(f'`{one}`' for one in known)}" if known else "has no key"
        super().__init__(
            f"the data is encrypted with the key `{key_id}`, and this process {has}; add that key to "
            "ORCHESTRATOR_ENCRYPTION_KEY (after a comma, if it isn't the one to encrypt with)"
        )


class NodeError(OrchestratorError):
    """A task failed, or is to fail, for a reason that its node (or its document) is answerable for.

    `error_type` is what `retry_on`, `never_on` and the map form of `on_error` compare with.
    """

    code = "node"
    retryable: ClassVar[bool] = True


class RetryLater(NodeError):
    """For node authors: nothing happened out there, try again after `delay_seconds`.

    The only error that lets an `irreversible` task be tried again.
    """

    code = "retry_later"

    def __init__(
        self, message: str = "asked to be tried again later", *, delay_seconds: float | None = None
    ) -> None:
        self.delay_seconds = delay_seconds
        super().__init__(message)


class PermanentFailure(NodeError):
    """For node authors: trying again is pointless."""

    code = "permanent_failure"
    retryable = False


class RouteNotAllowed(NodeError):
    """The node chose a target that is not among its routes; the message lists what was allowed."""

    code = "route_not_allowed"
    retryable = False


class OutputNotStorable(NodeError):
    """What the node returned can't be kept: it isn't JSON, or it is over the hard limit."""

    code = "output_not_storable"
    retryable = False


class ExpressionFailed(NodeError):
    """An expression of the document could not be evaluated; `pointer` names its place."""

    code = "expression_failed"
    retryable = False

    def __init__(self, message: str, *, pointer: str = "") -> None:
        self.pointer = pointer
        super().__init__(f"{pointer}: {message}" if pointer else message)


class TaskTimeout(NodeError):
    """The attempt ran longer than the node's `timeout`."""

    code = "timeout"

    def __init__(self, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        super().__init__(f"the attempt took longer than its timeout of {timeout_seconds:g} s")


class StepMismatch(OrchestratorError):
    """The node's code asks for another step, or with other arguments, than what its journal recorded."""

    code = "step_mismatch"


class InternalError(OrchestratorError):
    """A bug in Agentic Orchestrator itself, never the user's doing. Please report it with the message."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(f"internal error (a bug in Agentic Orchestrator): {message}")
