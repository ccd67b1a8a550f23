"""The tasks of one run as observers keep them: many of them small, each found by its path or its place.

A task that is over is kept as some 500 bytes of JSON and read again when it is asked for; what a list filters by
(status, node, visit, whose item it is) stands beside it. So a run with 100,000 items costs tens of megabytes, and a
page of it costs what the page shows.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import msgspec

from orchestrator.kernel.events import DecisionMade
from orchestrator.kernel.state import container_path
from orchestrator.kernel.status import TaskStatus
from orchestrator.kernel.values import NO_ORIGIN, NO_READS, CachedFrom, ErrorInfo, Origin, Reads, Wait

OVER = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})


class Ref(NamedTuple):
    """An event that holds a value: the run in whose journal it stands, its seq there, and which of its values."""

    run: str
    seq: int
    key: str | None = None


class Kept(msgspec.Struct, kw_only=True, array_like=True, omit_defaults=True):
    """A part of a record: changed in place by the fold, written as a short list."""


class Attempt(Kept):
    """One try. Of one that is still open only `attempt` is sure."""

    attempt: int
    worker: str = ""
    queued_at: str = ""
    started_at: str = ""
    finished_at: str = ""
    error: ErrorInfo | None = None


class Step(Kept):
    """A step of a task: `started`, `waiting`, `completed` or `failed`."""

    step: str
    name: str
    status: str
    effect: str | None = None
    started_at: str = ""
    finished_at: str = ""
    error: ErrorInfo | None = None
    value: Ref | None = None


class TaskRecord(Kept):
    """One task, as far as the journal tells. A `ready` one may be running: the leases know.

    What is seldom set comes last, so that it costs nothing where it isn't.
    """

    path: str
    node: str
    visit: int
    scheduled_at: str
    status: TaskStatus = TaskStatus.READY
    attempt: int = 1
    attempts: list[Attempt] = []
    started_at: str = ""
    finished_at: str = ""
    output: Ref | None = None
    output_bytes: int | None = None
    item: int | None = None
    previous: Origin = NO_ORIGIN
    reads: Reads = NO_READS
    decision: DecisionMade | None = None
    error: ErrorInfo | None = None
    steps: dict[str, Step] = {}
    waits: dict[str, Wait] = {}
    not_before_us: int = 0
    doubt: str = ""
    late: Ref | None = None
    reason: str = ""
    from_parent: bool = False
    compensates: str | None = None
    compensated_by: str | None = None
    cached: CachedFrom | None = None
    block: bool = False

    @property
    def over(self) -> bool:
        """Whether the task has ended."""
        return self.status in OVER


class TaskFilter(NamedTuple):
    """Which tasks are wanted; all given conditions must hold.

    `of`: only the items of this `for_each` task. `items` False: no items at all. A task that a worker holds is
    `running`, although the journal calls it ready: who asks for one of the two is given both, and looks.
    """

    node: str | None = None
    visit: int | None = None
    statuses: frozenset[TaskStatus] = frozenset()
    of: str | None = None
    items: bool = True


EVERY_TASK = TaskFilter()


class Container:
    """A `for_each` task whose items are known: how many there are, and their places in the table by number."""

    __slots__ = ("by_status", "count", "places")

    def __init__(self, count: int) -> None:
        self.count = count
        self.places = array("L")
        self.by_status: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)

    def copy(self) -> "Container":
        """The same, to go its own way."""
        other = Container(self.count)
        other.places, other.by_status = self.places[:], dict(self.by_status)
        return other


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TaskRecord)
_STATUSES = tuple(TaskStatus)
_CODES = {status: code for code, status in enumerate(_STATUSES)}
_MIXED_UP = frozenset({TaskStatus.READY, TaskStatus.RUNNING})


class TaskTable(Mapping[str, TaskRecord]):
    """Records by path, in the order of their scheduling. What `[path]` gives is a copy to read, if the task is over."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._paths: list[str] = []
        self._records: list[TaskRecord | bytes] = []
        self._statuses = bytearray()
        self._inherited = bytearray()
        self._nodes: list[str] = []
        self._visits = array("L")
        self._items = bytearray()
        self._containers: dict[str, Container] = {}
        self._touched: dict[int, TaskRecord] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __contains__(self, path: object) -> bool:
        return path in self._places

    def __getitem__(self, path: str) -> TaskRecord:
        return self.at(self._places[path])

    def at(self, place: int) -> TaskRecord:
        """The record at a place in the order of scheduling, to read."""
        kept = self._records[place]
        record = _decoder.decode(kept) if isinstance(kept, bytes) else kept
        record.from_parent = bool(self._inherited[place])
        return record

    def container(self, path: str) -> Container | None:
        """The items of a `for_each` task, once its list is known."""
        return self._containers.get(path)

    # --- the fold ---------------------------------------------------------------------------------------------------

    def add(self, record: TaskRecord) -> None:
        """A task was scheduled. One that is there already begins anew in its place."""
        known = self._places.get(record.path)
        if known is not None:
            self._touched[known] = self._records[known] = record
            return
        place = len(self._paths)
        self._places[record.path] = place
        self._paths.append(record.path)
        self._records.append(record)
        self._statuses.append(_CODES[record.status])
        self._inherited.append(0)
        self._nodes.append(record.node)
        self._visits.append(record.visit)
        self._items.append(record.item is not None)
        if record.item is not None:
            container = self._containers[container_path(record.path)]
            container.places.append(place)
            container.by_status[record.status] += 1

    def edit(self, path: str) -> TaskRecord:
        """The record, to be changed until `settle`."""
        place = self._places[path]
        touched = self._touched.get(place)
        if touched is None:
            touched = self._touched[place] = self._records[place] = self.at(place)
        return touched

    def begin_items(self, path: str, count: int) -> None:
        """A list became known: its items follow."""
        self._containers[path] = Container(count)

    def settle(self) -> None:
        """One event is folded: keep what it changed, in few bytes where the task is over."""
        for place, record in self._touched.items():
            before, after = _STATUSES[self._statuses[place]], record.status
            self._inherited[place] = record.from_parent
            if before is not after:
                self._statuses[place] = _CODES[after]
                if record.item is not None:
                    counts = self._containers[container_path(record.path)].by_status
                    counts[before] -= 1
                    counts[after] += 1
            if record.over:
                record.from_parent = False
                self._records[place] = _encoder.encode(record)
        self._touched.clear()

    def fork(self) -> "TaskTable":
        """The same tasks for a fork; those that are over are its parent's."""
        other = TaskTable()
        other._places, other._paths = dict(self._places), list(self._paths)
        other._records = [one if isinstance(one, bytes) else deepcopy(one) for one in self._records]
        other._statuses = bytearray(self._statuses)
        other._inherited = bytearray(_STATUSES[code] in OVER for code in self._statuses)
        other._nodes, other._visits = list(self._nodes), self._visits[:]
        other._items = bytearray(self._items)
        other._containers = {path: one.copy() for path, one in self._containers.items()}
        return other

    # --- lists ------------------------------------------------------------------------------------------------------

    def select(self, where: TaskFilter, *, start: int = 0) -> Iterator[tuple[int, TaskRecord]]:
        """The wanted tasks from position `start` on, each with its position: in the table, or among the items of `of`.

        Nothing is read of tasks that aren't wanted.
        """
        places: Sequence[int] = range(len(self._paths))
        if where.of is not None:
            container = self._containers.get(where.of)
            places = container.places if container is not None else ()
        wanted = where.statuses | _MIXED_UP if where.statuses & _MIXED_UP else where.statuses
        codes = bytes(sorted(_CODES[status] for status in wanted))
        statuses, nodes, visits, items = self._statuses, self._nodes, self._visits, self._items
        for position in range(start, len(places)):
            place = places[position]
            if (
                (not codes or statuses[place] in codes)
                and (where.items or where.of is not None or not items[place])
                and (where.node is None or nodes[place] == where.node)
                and (where.visit is None or visits[place] == where.visit)
            ):
                yield position, self.at(place)

    def first_items(self, path: str, status: TaskStatus, *, limit: int) -> list[TaskRecord]:
        """The first items of a `for_each` task that stand so, by their place in the list."""
        found: list[TaskRecord] = []
        container = self._containers[path]
        if container.by_status[status]:
            code = _CODES[status]
            for place in container.places:
                if self._statuses[place] == code:
                    found.append(self.at(place))
                    if len(found) == limit:
                        break
        return found
