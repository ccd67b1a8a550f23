"""Storing an error can't fail, whatever the error is."""

import pytest

from orchestrator.engine.attempts.failures import MESSAGE_CHARACTERS_MAX, error_info
from orchestrator.engine.redaction import Redactor
from orchestrator.kernel.state import TaskState
from orchestrator.kernel.values import ErrorInfo


def told(error: BaseException) -> ErrorInfo:
    task = TaskState(path="a", node="a", visit=1)
    return error_info(error, task, Redactor({"X": "hunter2-and-more"}))


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_error_that_cannot_say_what_it_is_is_still_told(raised: type[BaseException]) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise raised

    info = told(Unspeakable())
    assert info.type == "Unspeakable"
    assert raised.__name__ in info.message


def test_odd_characters_are_escaped_in_the_message() -> None:
    info = told(ValueError("a\x00b\ud800"))
    assert info.message == "a\\x00b\\ud800"


def test_a_long_text_is_cut_and_a_secret_replaced() -> None:
    assert len(told(ValueError("x" * 1_000_000)).message) < MESSAGE_CHARACTERS_MAX + 100
    assert told(ValueError("it is hunter2-and-more")).message == "it is [secret X]"


def test_leaving_the_interpreter_is_named_and_not_tried_again() -> None:
    info = told(SystemExit("bye"))
    assert "sys.exit('bye')" in info.message
    assert info.retryable is False
