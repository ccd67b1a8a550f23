"""Exit codes: what a script may rely on. The table for people is in `docs/cli.md`."""

from enum import IntEnum

from orchestrator import errors


class Exit(IntEnum):
    """How the program ends."""

    OK = 0
    FAILED = 1
    """The run failed, the document has faults, or the thing couldn't be done for a reason that has no code here."""
    USAGE = 2
    """The command line, an option's value or the run's input is wrong."""
    CANCELLED = 3
    """The run was cancelled."""
    NOT_FOUND = 4
    """There is no such run, task, workflow, node class or file."""
    CONFLICT = 5
    """The thing is in a state that doesn't allow this."""
    STORE = 6
    """The store can't be opened, read or written."""
    UNREACHABLE = 7
    """No server answers, or it is in trouble."""
    INTERNAL = 70
    """Our bug."""
    CONFIG = 78
    """A setting is wrong, a key is missing or not accepted, or the address isn't safe to listen on."""
    INTERRUPTED = 130
    """Ctrl-C, before there was anything to end in order."""


OF_RUN = {"succeeded": Exit.OK, "failed": Exit.FAILED, "cancelled": Exit.CANCELLED}
"""By the run's terminal status."""

OF_CODE = {"config": Exit.CONFIG, "unsafe_bind": Exit.CONFIG, "address_in_use": Exit.FAILED}
"""Errors of layers that aren't imported for every command, by their stable code."""

OF_ERROR: dict[type[errors.OrchestratorError], Exit] = {
    errors.OrchestratorError: Exit.FAILED,
    errors.UsageError: Exit.USAGE,
    errors.DefinitionError: Exit.FAILED,
    errors.NotFound: Exit.NOT_FOUND,
    errors.Conflict: Exit.CONFLICT,
    errors.LimitExceeded: Exit.USAGE,
    errors.StoreError: Exit.STORE,
    errors.InternalError: Exit.INTERNAL,
}
"""The nearest ancestor's row counts."""


class Refused(errors.OrchestratorError):
    """What a command itself says no to, with the exit code that it means; `cure` is the next thing to try."""

    code = "refused"

    def __init__(self, message: str, *, exit: Exit, code: str = "refused", cure: str | None = None) -> None:
        self.exit, self.cure, self.said_code = exit, cure, code
        super().__init__(message)


def exit_of(error: errors.OrchestratorError) -> Exit:
    """The exit code that an error means."""
    if isinstance(error, Refused):
        return error.exit
    if error.code in OF_CODE:
        return OF_CODE[error.code]
    for ancestor in type(error).__mro__:
        if ancestor in OF_ERROR:
            return OF_ERROR[ancestor]
    return Exit.FAILED


def exit_of_status(status: int, code: str) -> Exit:
    """The exit code that an answer of the server means."""
    if code.startswith("store") or code in ("version_conflict", "commit_unknown"):
        return Exit.STORE
    match status:
        case 401 | 403 | 429:
            return Exit.CONFIG
        case 404:
            return Exit.NOT_FOUND
        case 409:
            return Exit.CONFLICT
        case _ if status < 500:
            return Exit.USAGE
        case _:
            return Exit.UNREACHABLE
