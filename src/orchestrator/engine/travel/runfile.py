"""A run as one file: JSON Lines, gzip'd, each line a map with one key that says what it is.

    {"orchestrator_run": {"format": 1, "run": ..., "release": ..., "exported_at": ...}}   the first line
    {"definition": {"name", "version", "meaning", "text", "record": {...}}}               before the first run of it
    {"run": {"id", "workflow", "version", "events"}}                                      its journal follows
    {"blob": {"id", "text"}}                                                              before its first event
    {"event": {...}}                                                                      as it stands in the journal
    {"end": {"lines", "sha256"}}                                                          the last line

The parents of a fork come before it, as far as it shares their journals. A blob's id is the SHA-256 of its text, and
it belongs to the run whose journal it stands in, whatever run the payload names. `sha256` is that of all lines before,
line ends included: it tells damage, not who wrote the file. Whatever reads such a file must expect anything in it.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from orchestrator.errors import InvalidRunFile
from orchestrator.kernel.turn import JOURNAL_EVENTS_MAX
from orchestrator.kernel.values import NOTHING, Payload

FORMAT = 1
MEDIA_TYPE = "application/gzip"
SUFFIX = ".run.jsonl.gz"

_GZIP = b"\x1f\x8b"
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may take. Bytes of the file, bytes unpacked, one line; events of one journal, runs in one file."""

    file_bytes: int = 256 * 1024 * 1024
    unpacked_bytes: int = 2 * 1024 * 1024 * 1024
    line_bytes: int = 40 * 1024 * 1024
    events: int = JOURNAL_EVENTS_MAX
    runs: int = 33


class Head(msgspec.Struct, omit_defaults=True):
    """The first line."""

    format: int
    run: str
    release: str = ""
    exported_at: str = ""


class DefinitionLine(msgspec.Struct, omit_defaults=True):
    """A version with what it is pinned to."""

    name: str
    version: int
    meaning: str
    text: str
    record: msgspec.Raw


class RunLine(msgspec.Struct, omit_defaults=True):
    """A journal begins."""

    id: str
    workflow: str
    version: int
    events: int


class BlobLine(msgspec.Struct, omit_defaults=True):
    """A value that is too large for the journal, as its JSON."""

    id: str
    text: str


class End(msgspec.Struct, omit_defaults=True):
    """The last line."""

    lines: int
    sha256: str


class Line(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One line: exactly one of these is set."""

    orchestrator_run: Head | None = None
    definition: DefinitionLine | None = None
    run: RunLine | None = None
    blob: BlobLine | None = None
    event: msgspec.Raw = NOTHING
    end: End | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def line_of(line: Line) -> bytes:
    """The line as it is written."""
    return _encode(line) + b"\n"


class Writer:
    """Numbers and hashes the lines, and packs them. What it gives back goes to the file, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._lines = 0
        self._gzip = zlib.compressobj(6, zlib.DEFLATED, 31)

    def write(self, line: Line) -> bytes:
        """The next bytes of the file; often none, until enough has come together."""
        data = line_of(line)
        self._hash.update(data)
        self._lines += 1
        return self._gzip.compress(data)

    def close(self) -> bytes:
        """The last line, and all that was held back."""
        end = line_of(Line(end=End(lines=self._lines, sha256=self._hash.hexdigest())))
        return self._gzip.compress(end) + self._gzip.flush()


def read_lines(file: BinaryIO, limits: Limits) -> Iterator[Line]:
    """The lines of a file up to its end line, hashed and counted; packed or not.

    Memory is bounded by one line, whatever the file unpacks to.

    Raises:
        InvalidRunFile: it isn't one, is cut off or damaged, or goes beyond a limit.
    """
    digest, count, ended = hashlib.sha256(), 0, False
    for raw in _raw_lines(file, limits):
        if ended:
            raise InvalidRunFile("something follows on the end of the run file")
        number = count + 1
        try:
            line = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if count == 0:
                raise InvalidRunFile(
                    f"this is no run file: its first line isn't ours ({_short(error)})"
                ) from None
            raise InvalidRunFile(f"line {number} of the run file can't be read: {_short(error)}") from None
        _check_line(line, number)
        if line.end is not None:
            if line.end.lines != count or line.end.sha256 != digest.hexdigest():
                raise InvalidRunFile(
                    "the run file was changed or damaged: its content doesn't have the hash that its last line names"
                )
            ended = True
            yield line
            continue
        digest.update(raw)
        digest.update(b"\n")
        count += 1
        yield line
    if not ended:
        raise InvalidRunFile(
            "the run file is cut off: its last line is missing" if count else "the run file is empty"
        )


def _check_line(line: Line, number: int) -> None:
    parts = (line.orchestrator_run, line.definition, line.run, line.blob, line.end)
    if sum(part is not None for part in parts) + (line.event is not NOTHING) != 1:
        raise InvalidRunFile(f"line {number} of the run file must say one thing")
    if (number == 1) is not (line.orchestrator_run is not None):
        raise InvalidRunFile("the first line of a run file, and no other, says `orchestrator_run`")
    if line.orchestrator_run is not None and line.orchestrator_run.format > FORMAT:
        raise InvalidRunFile(
            f"the run file has format {line.orchestrator_run.format}; this release reads up to {FORMAT}. Import it "
            f"with the release that wrote it ({line.orchestrator_run.release[:40] or 'unknown'}), or a newer one"
        )


def _raw_lines(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    rest, unpacked = bytearray(), 0
    for chunk in _unpacked(file, limits):
        unpacked += len(chunk)
        if unpacked > limits.unpacked_bytes:
            raise InvalidRunFile(
                f"the run file unpacks to more than the limit of {limits.unpacked_bytes:,} bytes"
            )
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            rest += chunk[begin:end]
            _check_length(rest, limits)
            yield bytes(rest)
            rest.clear()
            begin = end + 1
        rest += chunk[begin:]
        _check_length(rest, limits)
    if rest:
        raise InvalidRunFile("the run file is cut off in the middle of a line")


def _check_length(line: bytearray, limits: Limits) -> None:
    if len(line) > limits.line_bytes:
        raise InvalidRunFile(
            f"a line of the run file is longer than the limit of {limits.line_bytes:,} bytes"
        )


def _unpacked(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    read = 0
    first = file.read(_CHUNK)
    unpacker = zlib.decompressobj(31) if first.startswith(_GZIP) else None
    data = first
    while data:
        read += len(data)
        if read > limits.file_bytes:
            raise InvalidRunFile(f"the run file is larger than the limit of {limits.file_bytes:,} bytes")
        if unpacker is None:
            yield data
        else:
            yield from _unpack(unpacker, data)
        data = file.read(_CHUNK)
    if unpacker is not None and not unpacker.eof:
        raise InvalidRunFile("the run file is cut off: its packing has no end")


def _unpack(unpacker: Any, data: bytes) -> Iterator[bytes]:
    if unpacker.eof:
        raise InvalidRunFile("something follows on the end of the run file")
    try:
        while True:
            out = unpacker.decompress(data, _CHUNK)
            if out:
                yield out
            data = unpacker.unconsumed_tail
            if unpacker.eof or (not data and len(out) < _CHUNK):
                break
    except zlib.error as error:
        raise InvalidRunFile(f"the run file is damaged: {error}") from None
    if unpacker.unused_data:
        raise InvalidRunFile("something follows on the end of the run file")


def _short(error: Exception) -> str:
    return str(error)[:200]


# --- what events hold ---------------------------------------------------------------------------------------------


def payloads_in(value: Any) -> Iterator[Payload]:
    """Every payload in an event, in whatever field."""
    if isinstance(value, Payload):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from payloads_in(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():  # pyright: ignore[reportUnknownVariableType] -- anything may stand there
            yield from payloads_in(one)
    elif isinstance(value, list | tuple):
        for one in value:  # pyright: ignore[reportUnknownVariableType] -- anything may stand there
            yield from payloads_in(one)
