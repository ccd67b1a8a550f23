"""What the errors of PostgreSQL and its driver mean, and how its URLs are read."""

import psycopg
import pytest
from psycopg import errors

from orchestrator.errors import (
    CommitUnknown,
    InternalError,
    OrchestratorError,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
)
from orchestrator.stores.contract import Keeps
from orchestrator.stores.postgres.connections import address_of
from orchestrator.stores.postgres.failures import MEANINGS, SPECIAL, Meaning, meaning_of, translate
from orchestrator.stores.postgres.health import durability_of


def known_to_the_driver() -> list[type[psycopg.Error]]:
    found: dict[str, type[psycopg.Error]] = {}
    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, psycopg.Error) and thing.sqlstate:
            found[thing.sqlstate] = thing
    return list(found.values())


def test_every_error_that_the_driver_knows_has_a_meaning() -> None:
    classes = known_to_the_driver()
    assert len(classes) > 200
    for error in classes:
        assert error.sqlstate is not None
        assert meaning_of(error()) in Meaning, error
        for committing in (True, False):
            assert isinstance(translate(error("x"), "here", committing=committing), OrchestratorError)
    assert {code[:2] for code in SPECIAL} <= set(MEANINGS)


@pytest.mark.parametrize(
    ("error", "committing", "expected"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), True, CommitUnknown),
        (psycopg.OperationalError("connection refused"), False, StoreUnavailable),
        (psycopg.InterfaceError("the connection is closed"), True, CommitUnknown),
        (errors.AdminShutdown("terminating connection"), True, CommitUnknown),
        (errors.CrashShutdown("terminating connection"), True, CommitUnknown),
        (errors.CannotConnectNow("starting up"), True, StoreUnavailable),
        (errors.QueryCanceled("statement timeout"), True, StoreUnavailable),
        (errors.DeadlockDetected("deadlock"), True, StoreUnavailable),
        (errors.DiskFull("no space left"), True, StoreUnavailable),
        (errors.TooManyConnections("sorry"), True, StoreUnavailable),
        (errors.ReadOnlySqlTransaction("read only"), True, StoreUnavailable),
        (errors.CharacterNotInRepertoire("NUL"), True, UsageError),
        (errors.InsufficientPrivilege("no"), True, StoreIncompatible),
        (errors.UndefinedTable("gone"), True, StoreIncompatible),
        (errors.InvalidCatalogName("no such database"), False, StoreIncompatible),
        (errors.SyntaxError("ours"), True, InternalError),
        (TimeoutError(), True, CommitUnknown),
        (TimeoutError(), False, StoreUnavailable),
        (ConnectionResetError(), False, StoreUnavailable),
    ],
)
def test_an_error_says_what_the_caller_may_do(
    error: Exception, committing: bool, expected: type[OrchestratorError]
) -> None:
    told = translate(error, "PostgreSQL (here)", committing=committing)
    assert type(told) is expected
    assert "PostgreSQL (here)" in str(told)


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = UsageError("x")
    assert translate(error, "here") is error


def test_a_url_is_shown_without_credentials() -> None:
    address = address_of("postgresql://me:hunter2@db.example:5433/runs?schema=Mine&sslmode=require")
    assert address.url == "postgresql://db.example:5433/runs?schema=Mine&sslmode=require"
    assert address.schema == "mine"
    assert "hunter2" in address.conninfo
    assert "search_path=mine" in address.conninfo


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?schema=",
        "postgresql://h/d?schema=a;b",
        "postgresql://h/d?schema=a%20b",
        "postgresql://me:hunter2@h/d?nonsense=1",
        "postgresql://h/d?schema=" + "x" * 49,
        "mysql://h/d",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_of(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("fsync", "full", "commit", "keeps", "named"),
    [
        ("on", "on", "on", Keeps.EVERYTHING, ""),
        ("on", "on", "local", Keeps.EVERYTHING, ""),
        ("on", "on", "remote_apply", Keeps.EVERYTHING, ""),
        ("on", "on", "off", Keeps.ALL_BUT_LAST, "synchronous_commit"),
        ("off", "on", "on", Keeps.NOTHING_SURE, "fsync"),
        ("on", "off", "on", Keeps.NOTHING_SURE, "full_page_writes"),
    ],
)
def test_weak_settings_are_named_with_their_cure(
    fsync: str, full: str, commit: str, keeps: Keeps, named: str
) -> None:
    told = durability_of(fsync=fsync, full_page_writes=full, synchronous_commit=commit)
    assert told.keeps is keeps
    assert named in told.words
    assert [named in line for line in told.cure[:1]] == ([True] if named else [])
