"""What an error of the driver or the server means: nothing happened, nobody knows, or the call was wrong.

An error that comes with a code was told by the server, and its transaction is rolled back; without one the connection
broke, and what was on its way may have happened. An end that somebody ordered (57P..) may come after the commit.
"""

from enum import Enum

import psycopg

from orchestrator.errors import (
    CommitUnknown,
    InternalError,
    OrchestratorError,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
)


class Meaning(Enum):
    """What the caller may do."""

    REPEAT = "repeat"
    """Nothing happened."""
    UNKNOWN = "unknown"
    """The connection is gone, and with it the answer."""
    VALUE = "value"
    """A value can't be stored; the rest of a batch can."""
    SETUP = "setup"
    """The server isn't as it must be: a person has to act."""
    BUG = "bug"
    """A statement of ours is wrong."""


MEANINGS: dict[str, Meaning] = {
    "02": Meaning.BUG,
    "03": Meaning.BUG,
    "08": Meaning.UNKNOWN,  # connection exceptions
    "09": Meaning.BUG,
    "0A": Meaning.BUG,
    "0B": Meaning.BUG,
    "0F": Meaning.BUG,
    "0L": Meaning.BUG,
    "0P": Meaning.SETUP,
    "0Z": Meaning.BUG,
    "10": Meaning.BUG,
    "20": Meaning.BUG,
    "21": Meaning.BUG,
    "22": Meaning.VALUE,  # a NUL in a text, a number that doesn't fit
    "23": Meaning.BUG,
    "24": Meaning.BUG,
    "25": Meaning.REPEAT,  # read only, idle in transaction
    "26": Meaning.REPEAT,  # a prepared statement that a proxy forgot
    "27": Meaning.BUG,
    "28": Meaning.SETUP,  # who may log in
    "2B": Meaning.SETUP,
    "2D": Meaning.BUG,
    "2F": Meaning.BUG,
    "34": Meaning.BUG,
    "38": Meaning.BUG,
    "39": Meaning.BUG,
    "3B": Meaning.BUG,
    "3D": Meaning.SETUP,  # no such database
    "3F": Meaning.SETUP,  # no such schema
    "40": Meaning.REPEAT,  # serialization, deadlock
    "42": Meaning.BUG,
    "44": Meaning.BUG,
    "53": Meaning.REPEAT,  # disk full, out of memory, too many connections
    "54": Meaning.VALUE,  # larger than the server can hold
    "55": Meaning.REPEAT,  # a lock wasn't free in time
    "57": Meaning.UNKNOWN,  # shutdown, crash, starting up
    "58": Meaning.REPEAT,  # the server's disk answered with an error
    "72": Meaning.REPEAT,
    "F0": Meaning.SETUP,
    "HV": Meaning.BUG,
    "P0": Meaning.BUG,
    "XX": Meaning.REPEAT,  # the server's own trouble: its message says more
}
"""By the class of the server's code (its first two characters)."""

SPECIAL: dict[str, Meaning] = {
    "40003": Meaning.UNKNOWN,  # statement completion unknown
    "42501": Meaning.SETUP,  # no right to do so
    "42P01": Meaning.SETUP,  # our tables aren't there any more
    "42883": Meaning.SETUP,  # nor our functions
    "53300": Meaning.REPEAT,
    "57014": Meaning.REPEAT,  # cancelled, or longer than statement_timeout: rolled back
    "57P03": Meaning.REPEAT,  # it is just starting: nothing was sent yet
}
"""Codes that mean something else than their class."""


def meaning_of(error: psycopg.Error) -> Meaning:
    """What this error means for whoever called."""
    code = error.sqlstate
    if code is not None:
        return SPECIAL.get(code) or MEANINGS[code[:2]]
    match error:
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Meaning.UNKNOWN
        case psycopg.DataError():
            return Meaning.VALUE
        case _:
            return Meaning.BUG


def translate(error: Exception, place: str, *, committing: bool = False) -> Exception:
    """Our error for a driver's. `committing`: it matters whether what was sent has happened."""
    match error:
        case OrchestratorError():
            return error
        case psycopg.Error():
            return _of_driver(error, place, committing=committing)
        case TimeoutError():
            said = f"{place} doesn't answer"
            return CommitUnknown(f"{said}; repeat the same commit") if committing else StoreUnavailable(said)
        case UnicodeEncodeError() | OverflowError():
            return UsageError(f"a value can't be stored in {place}: {error}")
        case OSError():
            return StoreUnavailable(f"{place} can't be reached: {error}")
        case _:
            return error


def _of_driver(error: psycopg.Error, place: str, *, committing: bool) -> OrchestratorError:
    said = " ".join(str(error).split()) or type(error).__name__
    match meaning_of(error):
        case Meaning.REPEAT:
            return StoreUnavailable(f"{place} refused: {said} (nothing was written)")
        case Meaning.UNKNOWN if committing:
            return CommitUnknown(f"the connection to {place} broke: {said}; repeat the same commit")
        case Meaning.UNKNOWN:
            return StoreUnavailable(f"the connection to {place} broke: {said}")
        case Meaning.VALUE:
            return UsageError(f"a value can't be stored in {place}: {said}")
        case Meaning.SETUP:
            return StoreIncompatible(
                f"{place} isn't set up for this: {said}. Check the user's rights, and that nobody removed our schema"
            )
        case Meaning.BUG:
            return InternalError(
                f"PostgreSQL refused a statement of ours at {place}: {type(error).__name__}: {said}"
            )
