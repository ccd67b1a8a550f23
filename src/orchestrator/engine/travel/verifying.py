"""A run file looked through before anything of it is kept. Pure but for the file; runs beside the event loop.

Its journals are folded as the kernel folds them, its versions compiled, its blobs hashed. A file may hold anything:
every way in which it can't be a run's is found here, and said in words.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import msgspec

from orchestrator.engine.runs.definitions import VersionRecord, decode_record
from orchestrator.engine.runs.summary import summarize
from orchestrator.engine.service.inputs import check_labels
from orchestrator.engine.travel.runfile import (
    BlobLine,
    DefinitionLine,
    Limits,
    RunLine,
    payloads_in,
    read_lines,
)
from orchestrator.engine.views.payloads import event_view
from orchestrator.engine.views.runs import state_view
from orchestrator.errors import InvalidRunFile, OrchestratorError
from orchestrator.kernel.apply import apply
from orchestrator.kernel.events import (
    JOURNAL_FORMAT,
    RULES_VERSION,
    AnyEvent,
    GraphExtended,
    RunPatched,
    RunStarted,
    TaskScheduled,
    decode,
)
from orchestrator.kernel.outlook import wakers_of
from orchestrator.kernel.state import RunState, decode_state, encode_state
from orchestrator.kernel.values import NOTHING, microseconds
from orchestrator.model.checks import check
from orchestrator.model.definition import Definition, compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.grafts import compile_block, local_id
from orchestrator.model.limits import PLAN_BYTES_MAX

TEXT_CHARACTERS_MAX = 1_000_000
INTEGER_MAX = 2**53
_ROOM = 30
"""Levels of nesting that views put around a value."""


@dataclass(kw_only=True)
class Version:
    """A version of the file, as it can be kept."""

    name: str
    version: int
    text: str
    record: VersionRecord
    definition: Definition


@dataclass(kw_only=True)
class Journal:
    """A run of the file: what it says of itself, and how many events it has."""

    line: RunLine
    version: Version
    first: RunStarted | None = None
    events: int = 0


@dataclass(kw_only=True)
class Verified:
    """A file that can be imported. The last journal is the run itself, those before it are its parents."""

    sha256: str
    journals: list[Journal] = field(default_factory=list[Journal])


def verify(file: BinaryIO, limits: Limits) -> Verified:
    """Look through the whole file.

    Raises:
        InvalidRunFile: the first thing that is wrong with it.
    """
    found = Verified(sha256="")
    versions: dict[tuple[str, int], Version] = {}
    fold: _Fold | None = None
    for line in read_lines(file, limits):
        if line.definition is not None:
            version = _version(line.definition)
            versions[(version.name, version.version)] = version
        elif line.run is not None:
            if len(found.journals) == limits.runs:
                raise InvalidRunFile(f"the run file holds more than {limits.runs} runs")
            if fold is not None:
                fold.end()
            known = versions.get((line.run.workflow, line.run.version))
            if known is None:
                raise InvalidRunFile(f"run {_name(line.run.id)} names a version that isn't in the file")
            journal = Journal(line=line.run, version=known)
            found.journals.append(journal)
            fold = _Fold(journal, fold, limits)
        elif line.blob is not None:
            _of(fold).blob(line.blob)
        elif line.event is not NOTHING:
            _of(fold).event(bytes(line.event))
        elif line.end is not None:
            found.sha256 = line.end.sha256
    _of(fold).end()
    return found


def _of(fold: "_Fold | None") -> "_Fold":
    if fold is None:
        raise InvalidRunFile("the run file holds no run")
    return fold


def _name(text: str) -> str:
    return repr(text[:128])


# --- versions -----------------------------------------------------------------------------------------------------


def _version(line: DefinitionLine) -> Version:
    try:
        record = decode_record(bytes(line.record))
        document = WorkflowDocument.model_validate(record.document)
        written = document.model_dump(mode="json", by_alias=True, exclude_unset=True)
        report = check(written, record.declarations)
        faults = "; ".join(str(fault) for fault in report.faults[:3])
        definition = compile_definition(document, record.declarations)
    except (OrchestratorError, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise InvalidRunFile(f"the workflow {_name(line.name)} of the run file: {str(error)[:500]}") from None
    if faults:
        raise InvalidRunFile(f"the workflow {_name(line.name)} of the run file has faults: {faults[:1000]}")
    if document.name != line.name or not 1 <= line.version < 2**31:
        raise InvalidRunFile(f"the workflow {_name(line.name)} of the run file isn't the one in its document")
    return Version(name=line.name, version=line.version, text=line.text, record=record, definition=definition)


# --- journals -----------------------------------------------------------------------------------------------------


class _Fold:
    """One journal on its way in: the state that it makes, the tasks that it names, the blobs that it brings along."""

    def __init__(self, journal: Journal, before: "_Fold | None", limits: Limits) -> None:
        self._journal = journal
        self._before = before
        self._limits = limits
        self.state = RunState()
        self.nodes: dict[str, str] = {}
        self._blobs: set[str] = set()
        self._group = 0

    def blob(self, line: BlobLine) -> None:
        """A blob that later events may name."""
        data = line.text.encode("utf-8", "surrogatepass")
        if hashlib.sha256(data).hexdigest() != line.id:
            raise InvalidRunFile(
                f"blob {line.id[:64]!r} of the run file doesn't have the content that its id names"
            )
        _check_json(data, f"blob {line.id}")
        self._blobs.add(line.id)

    def event(self, raw: bytes) -> None:
        """The next event."""
        journal = self._journal
        at = f"event {journal.events + 1} of run {_name(journal.line.id)}"
        if journal.events == self._limits.events:
            raise InvalidRunFile(f"run {_name(journal.line.id)} has more than {self._limits.events:,} events")
        try:
            event = decode(raw)
            self._check(event, at)
            _check_json(raw, at)
            if journal.events == 0:
                self._begin(event)
            apply(self.state, event)
            event_view(raw)
        except InvalidRunFile:
            raise
        except Exception as error:  # noqa: BLE001 -- a hostile journal may break any rule, in any way
            raise InvalidRunFile(f"{at} can't be: {type(error).__name__}: {str(error)[:300]}") from None
        journal.events += 1

    def _check(self, event: AnyEvent, at: str) -> None:
        if event.group not in (self._group, event.seq):
            raise InvalidRunFile(f"{at} belongs to no group of its neighbours")
        self._group = event.group
        microseconds(event.at)
        _check_plain(event, at)
        self._check_tasks(event, at)
        if isinstance(event, GraphExtended):
            _check_plan(event, at)
        for payload in payloads_in(event):
            if payload.blob is not None and payload.blob not in self._blobs:
                raise InvalidRunFile(f"{at} names a blob that the file doesn't hold before it")

    def _check_tasks(self, event: AnyEvent, at: str) -> None:
        """Every task that an event names was scheduled before it, and stays at its node."""
        if isinstance(event, TaskScheduled):
            self.nodes[event.path] = event.node
        named = [*event.outputs, *event.completed, *event.routes] if isinstance(event, RunPatched) else []
        path = getattr(event, "path", None)
        if path is not None:
            named.append(path)
            if self.nodes.get(path, "") not in ("", getattr(event, "node", "")):
                raise InvalidRunFile(f"{at} moves a task to another node")
        if not all(one in self.nodes for one in named):
            raise InvalidRunFile(f"{at} names a task that nothing scheduled")

    def _begin(self, event: AnyEvent) -> None:
        line, version = self._journal.line, self._journal.version
        if not isinstance(event, RunStarted) or event.run_id != line.id:
            raise InvalidRunFile(f"the journal of run {_name(line.id)} doesn't begin with its start")
        if (event.workflow, event.version) != (version.name, version.version):
            raise InvalidRunFile(f"run {_name(line.id)} is of another version than the file says")
        if event.format > JOURNAL_FORMAT or event.rules > RULES_VERSION:
            raise InvalidRunFile(
                f"run {_name(line.id)} has journal format {event.format} and rules {event.rules}; this release knows "
                f"{JOURNAL_FORMAT} and {RULES_VERSION}: import it with a newer release"
            )
        check_labels(event.labels)
        origin = event.forked_from
        self._journal.first = event
        if origin is None:
            if self._before is not None:
                raise InvalidRunFile(f"run {_name(line.id)} continues no run of the file")
            return
        if self._before is None:
            raise InvalidRunFile(f"run {_name(line.id)} is a fork, and its parent isn't in the file")
        state = self._before.state
        if (origin.run, origin.seq) != (state.run_id, state.seq):
            raise InvalidRunFile(f"run {_name(line.id)} isn't a fork of the end of the run before it")
        self.state = decode_state(encode_state(state))
        self.state.seq = 0
        self.nodes = dict(self._before.nodes)

    def end(self) -> None:
        """The journal is over; its end can be shown."""
        journal = self._journal
        if journal.events != journal.line.events or not journal.events:
            raise InvalidRunFile(
                f"run {_name(journal.line.id)} has {journal.events:,} events, and the file says {journal.line.events:,}"
            )
        try:
            wakers_of(self.state)
            summarize(self.state)
            state_view(self.state, journal.version.definition, active_us=0)
        except Exception as error:  # noqa: BLE001 -- a view of what can't be shown would fail for ever
            raise InvalidRunFile(
                f"run {_name(journal.line.id)} ends in a state that can't be shown: {str(error)[:300]}"
            ) from None


def _check_plan(event: GraphExtended, at: str) -> None:
    """The plan can be seen together with the version."""
    if len(bytes(event.plan.record)) > PLAN_BYTES_MAX:
        raise InvalidRunFile(f"{at} lays a plan of more than {PLAN_BYTES_MAX:,} bytes")
    try:
        block = compile_block(event.path, event.plan.record)
    except Exception as error:  # noqa: BLE001 -- what a stranger's file holds may be anything
        raise InvalidRunFile(f"{at} lays a plan that can't be: {str(error)[:300]}") from None
    plan, ids = event.plan, [local_id(node) for node in block.nodes]
    same = ids == plan.nodes and plan.start_at == local_id(block.graph.start)
    if not same or plan.start_at not in ids or plan.output is (block.output is None):
        raise InvalidRunFile(f"{at} lays another plan than it says")


def _check_json(data: bytes, what: str) -> None:
    """The value can be read, with some levels of nesting to spare for what stands around it."""
    try:
        msgspec.json.decode(b"[" * _ROOM + data + b"]" * _ROOM)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidRunFile(f"{what} isn't JSON that can be kept: {str(error)[:200]}") from None


def _check_plain(value: Any, at: str) -> None:
    """Numbers within reach of times and JSON, texts that every store can keep."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _check_plain(getattr(value, name), at)
    elif isinstance(value, str):
        if "\0" in value or len(value) > TEXT_CHARACTERS_MAX:
            raise InvalidRunFile(f"{at} holds a text that no store can keep")
    elif isinstance(value, int):
        if not 0 <= value <= INTEGER_MAX:
            raise InvalidRunFile(f"{at} holds a number out of range")
    elif isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            _check_plain(key, at)
            _check_plain(one, at)
    elif isinstance(value, list | tuple):
        for one in cast("list[Any]", value):
            _check_plain(one, at)
