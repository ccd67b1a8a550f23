"""Exit codes: every error has one, and the page for people names them all."""

from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.api.server import AddressInUse
from orchestrator.cli.client import Answered
from orchestrator.cli.exits import OF_RUN, Exit, Refused, exit_of
from orchestrator.config import ConfigError, UnsafeBind
from orchestrator.kernel.status import RunStatus

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.InvalidInput([]), 2),
        (errors.DefinitionError([]), 1),
        (errors.NotFound("run", "x"), 4),
        (errors.Conflict("x"), 5),
        (errors.LimitExceeded("labels", value=2, maximum=1), 2),
        (errors.StoreUnavailable("x"), 6),
        (errors.StoreIncompatible("x"), 6),
        (errors.CommitUnknown("x"), 6),
        (errors.ExpressionFailed("x"), 1),
        (errors.InternalError("x"), 70),
        (ConfigError("x"), 78),
        (UnsafeBind("0.0.0.0"), 78),
        (AddressInUse("127.0.0.1", 1, "x"), 1),
        (Refused("x", exit=Exit.UNREACHABLE), 7),
    ],
)
def test_an_error_means_one_exit_code(error: errors.OrchestratorError, code: int) -> None:
    assert exit_of(error) == code


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "usage", 2),
        (401, "key_needed", 78),
        (404, "not_found", 4),
        (409, "conflict", 5),
        (409, "version_conflict", 6),
        (422, "invalid_input", 2),
        (503, "store_unavailable", 6),
        (500, "internal", 7),
    ],
)
def test_an_answer_of_a_server_means_the_same_as_the_error_behind_it(
    status: int, code: str, expected: int
) -> None:
    assert exit_of(Answered(status, {"code": code, "detail": "x"}, "reason")) == expected


def test_every_terminal_status_has_an_exit_code() -> None:
    assert set(OF_RUN) == {status.value for status in RunStatus if not status.live}


def test_the_page_names_every_exit_code_and_no_other() -> None:
    table = PAGE.read_text().partition("## Exit codes")[2]
    named = {
        int(line.split("|")[1]) for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()
    }
    assert named == {int(one) for one in Exit}
