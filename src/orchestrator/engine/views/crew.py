"""Who could run a task: the workers that are alive, by the queues that they serve and the classes that they have."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from orchestrator.model.definition import Definition
from orchestrator.model.limits import DEFAULT_QUEUE
from orchestrator.stores.contract import WorkerRow

NAMED_MAX = 3


class Asked(NamedTuple):
    """The class that a node's tasks ask for."""

    name: str
    version: int


class Member(msgspec.Struct, frozen=True):
    """What a worker says of itself. `classes` None: a release that didn't say."""

    worker: str = ""
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    classes: dict[str, int] | None = None

    def lacks(self, asked: Asked) -> bool:
        """Whether it can't run such a task."""
        return self.classes is not None and self.classes.get(asked.name) != asked.version


class Crew(NamedTuple):
    """The workers alive, and what the run's nodes ask for."""

    members: tuple[Member, ...]
    asked: Mapping[str, Asked]

    def missing(self, node: str | None, queue: str) -> str:
        """Why nobody can run a task of this node that waits in this queue; empty if somebody can."""
        if not self.members:
            return "no worker is alive"
        serving = [member for member in self.members if queue in member.queues]
        if not serving:
            return f"no worker serves queue `{queue}`"
        asked = self.asked.get(node or "")
        if asked is None or not all(member.lacks(asked) for member in serving):
            return ""
        where = "" if queue == DEFAULT_QUEUE else f" that serves queue `{queue}`"
        told = [_told(member, asked) for member in serving[:NAMED_MAX]]
        more = [f"{len(serving) - NAMED_MAX} more"] if len(serving) > NAMED_MAX else []
        return (
            f"no worker{where} has class `{asked.name}` in version {asked.version} ({', '.join(told + more)})"
        )


def crew_of(rows: Iterable[WorkerRow], definition: Definition) -> Crew:
    """The crew, from what the store knows of the workers."""
    asked = {
        node.id: Asked(node.declaration.name, node.declaration.class_version)
        for node in definition.nodes.values()
    }
    return Crew(tuple(_member(row) for row in rows), asked)


def unable_note(name: str, version: int, *, worker: str, here: int | None) -> str:
    """What a worker writes beside a task that it gives back because of its class."""
    has = (
        f"has class `{name}` in version {here}, not {version}"
        if here is not None
        else f"lacks class `{name}`"
    )
    return f"worker `{worker}` {has}"


def _member(row: WorkerRow) -> Member:
    try:
        said = msgspec.json.decode(row.info, type=Member) if row.info else Member()
    except msgspec.MsgspecError:
        said = Member()
    return msgspec.structs.replace(said, worker=row.worker)


def _told(member: Member, asked: Asked) -> str:
    here = (member.classes or {}).get(asked.name)
    return f"`{member.worker}` " + ("lacks it" if here is None else f"has version {here}")
