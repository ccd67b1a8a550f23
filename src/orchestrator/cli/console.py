"""What people and scripts read: results on stdout, everything else on stderr, and errors without tracebacks."""

import contextlib
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

from orchestrator.cli.exits import Exit, Refused, exit_of
from orchestrator.errors import DefinitionError, Fault, InternalError, InvalidInput, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.model.reading import Syntax

DIM, BOLD, RED, GREEN, YELLOW, CYAN = "2", "1", "31", "32", "33", "36"


def coloured(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, *, stream: TextIO) -> str:
    """The text in a colour where the stream shows colours."""
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(stream) else text


def clean(text: str) -> str:
    """Text from outside, safe for a terminal: control characters are shown, not obeyed."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def say(text: str = "") -> None:
    """A line of the result."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """A line beside the result."""
    _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    # A terminal of another encoding must not end us in the middle of a run.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def say_json(value: Any, *, lines: bool = False) -> None:
    """The result as JSON; with `lines` on one line, for a stream of them."""
    _write(sys.stdout, json.dumps(value, ensure_ascii=False, indent=None if lines else 2))


def shown(value: Any) -> str:
    """A value for people."""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))


def fault_lines(faults: Sequence[Mapping[str, Any] | Fault], *, mark: str = "") -> list[str]:
    """Each fault with its place, what is wrong, and the nearest right thing."""
    lines: list[str] = []
    for fault in faults:
        view: Mapping[str, Any] = (
            {
                "pointer": fault.pointer,
                "message": fault.message,
                "suggestion": fault.suggestion,
                "line": fault.line,
                "column": fault.column,
            }
            if isinstance(fault, Fault)
            else fault
        )
        message, suggestion = str(view["message"]), view.get("suggestion")
        where = f" (line {view['line']}, column {view['column']})" if view.get("line") else ""
        said = f"{mark}{view['pointer'] or '/'}{where}: {message}"
        if suggestion and suggestion not in message:
            said += f"; did you mean `{suggestion}`?"
        lines.append(clean(said))
    return lines


def error_json(error: OrchestratorError) -> dict[str, Any]:
    """An error as scripts read it."""
    told: dict[str, Any] = {
        "code": error.said_code if isinstance(error, Refused) else error.code,
        "message": str(error),
        "exit": int(exit_of(error)),
    }
    if isinstance(error, Refused) and error.cure:
        told["cure"] = error.cure
    faults: Sequence[Fault] = getattr(error, "faults", ())
    if faults:
        told["errors"] = [
            {"pointer": f.pointer, "code": f.code, "message": f.message, "suggestion": f.suggestion}
            for f in faults
        ]
    return {"error": told}


def tell_error(error: OrchestratorError, *, as_json: bool = False) -> None:
    """Say what went wrong, where, and what to try next; on stderr."""
    if as_json:
        tell(json.dumps(error_json(error), ensure_ascii=False))
        return
    label = paint("error:", f"{BOLD};{RED}", stream=sys.stderr)
    if isinstance(error, DefinitionError | InvalidInput):
        what = "the input doesn't fit" if isinstance(error, InvalidInput) else "the workflow can't be taken"
        tell(f"{label} {what}:")
        for line in fault_lines(error.faults):
            tell(f"  {line}")
        return
    tell(f"{label} {clean(str(error))}")
    if isinstance(error, Refused) and error.cure:
        tell(f"  {clean(error.cure)}")


@contextlib.contextmanager
def expected_errors(*, as_json: bool = False) -> Generator[None]:
    """Turn errors that are raised on purpose into words and an exit code; Ctrl-C into its code."""
    try:
        yield
    except InternalError as error:
        tell_error(error, as_json=as_json)
        raise typer.Exit(Exit.INTERNAL) from error
    except OrchestratorError as error:
        tell_error(error, as_json=as_json)
        raise typer.Exit(exit_of(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def read_json(text: str, *, option: str) -> Any:
    """The value of an option that takes JSON, `@file`, or `@-` for what comes in by stdin.

    Raises:
        Refused: it can't be read, or isn't JSON; the message names option and place.
    """
    source = option
    if text.startswith("@"):
        text, source = read_text(text[1:], what=option), text[1:]
    try:
        return json.loads(text)
    except ValueError as error:
        cure = 'JSON wants quotes around texts and names, as in \'{"user_type": "standard"}\'; or name a file: @file'
        raise Refused(
            f"{source}: not JSON: {error}", exit=Exit.USAGE, code="invalid_json", cure=cure
        ) from None
    except RecursionError:
        raise Refused(f"{source}: nested too deeply", exit=Exit.USAGE, code="invalid_json") from None


def read_text(name: str, *, what: str) -> str:
    """A file as text; `-` is stdin.

    Raises:
        Refused: it can't be read.
    """
    return read_bytes(name, what=what).decode("utf-8", "surrogateescape")


def read_bytes(name: str, *, what: str) -> bytes:
    """A file as it stands; `-` is stdin.

    Raises:
        Refused: it can't be read.
    """
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:  # noqa: PTH123 -- pathlib costs more to import than to read
            return file.read()
    except FileNotFoundError:
        raise Refused(f"{what}: there is no file {name}", exit=Exit.NOT_FOUND, code="no_such_file") from None
    except OSError as error:
        raise Refused(
            f"{what}: {name} can't be read: {error.strerror}", exit=Exit.USAGE, code="unreadable"
        ) from None


def syntax_of(name: str) -> "Syntax":
    """How a document in a file of this name is written: `.yaml` and `.yml` are YAML, all else JSON."""
    return "yaml" if name.lower().endswith((".yaml", ".yml")) else "json"


def pairs(given: Sequence[str], *, option: str) -> dict[str, str]:
    """`key=value` options as a map.

    Raises:
        Refused: one has no `=`.
    """
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise Refused(f"{option} {text!r}: write it as key=value", exit=Exit.USAGE, code="usage")
        found[key] = value
    return found
