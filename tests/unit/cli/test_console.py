"""What people read: safe for a terminal, with place, cause and cure; and what options are read from."""

import io
import json
from pathlib import Path

import pytest
import typer

from orchestrator.cli import console
from orchestrator.cli.exits import Exit, Refused
from orchestrator.errors import DefinitionError, Fault, NotFound


def test_control_characters_from_outside_are_shown_not_obeyed() -> None:
    assert console.clean("a\x1b[2Jb\tc\nd") == "a\\x1b[2Jb\\x09c\nd"


def test_a_suggestion_is_said_once() -> None:
    faults = [
        Fault(pointer="/a", code="x", message="no node `b`; did you mean `c`?", suggestion="c"),
        Fault(pointer="", code="x", message="no node `b`", suggestion="c"),
    ]
    assert console.fault_lines(faults) == [
        "/a: no node `b`; did you mean `c`?",
        "/: no node `b`; did you mean `c`?",
    ]


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert console.pairs(["a=b=c", "d="], option="--label") == {"a": "b=c", "d": ""}
    with pytest.raises(Refused, match="write it as key=value") as refused:
        console.pairs(["=x"], option="--label")
    assert refused.value.exit is Exit.USAGE


def test_json_options_name_their_place_and_the_cure(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("[1")
    assert console.read_json("[1]", option="--input") == [1]
    with pytest.raises(Refused, match=r"x\.json: not JSON: .*column") as refused:
        console.read_json(f"@{file}", option="--input")
    assert refused.value.cure is not None
    with pytest.raises(Refused, match="there is no file") as missing:
        console.read_json("@none.json", option="--input")
    assert missing.value.exit is Exit.NOT_FOUND
    with pytest.raises(Refused, match="nested too deeply"):
        console.read_json("[" * 200_000, option="--input")


def test_expected_errors_become_words_and_a_code_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended, console.expected_errors():
        raise NotFound("run", "run_1", suggestion="run_2")
    assert ended.value.exit_code == Exit.NOT_FOUND
    assert capsys.readouterr().err == "error: no run 'run_1'; did you mean 'run_2'?\n"


def test_expected_errors_as_json_list_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, console.expected_errors(as_json=True):
        raise DefinitionError([Fault(pointer="/a", code="unknown_key", message="what?")])
    assert ended.value.exit_code == Exit.FAILED
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["exit"]) == ("invalid_definition", 1)
    assert error["errors"] == [
        {"pointer": "/a", "code": "unknown_key", "message": "what?", "suggestion": None}
    ]


def test_ctrl_c_has_its_own_code() -> None:
    with pytest.raises(typer.Exit) as ended, console.expected_errors():
        raise KeyboardInterrupt
    assert ended.value.exit_code == Exit.INTERRUPTED


def test_there_are_colours_only_in_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.paint("x", console.RED, stream=Screen()) == "\x1b[31mx\x1b[0m"
    assert console.paint("x", console.RED, stream=io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.paint("x", console.RED, stream=Screen()) == "x"
