"""Documents on their way into the store: checked, drawn, and made into what is kept with a version. Pure."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from orchestrator.engine.runs.definitions import VersionRecord, encode_record, pinned
from orchestrator.engine.views.runs import View, fault_view
from orchestrator.engine.views.workflows import graph_view, sketch_view
from orchestrator.errors import DefinitionError, Fault, LimitExceeded
from orchestrator.model.checks import check
from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.document import WorkflowDocument
from orchestrator.model.limits import DEFAULT_LIMITS
from orchestrator.model.meaning import meaning_hash
from orchestrator.model.nearest import Nearest
from orchestrator.model.plain import is_dict
from orchestrator.model.reading import Syntax, read_source
from orchestrator.model.shape import read_shape

SMALL_TEXT_BYTES = 16 * 1024

T = TypeVar("T")


class Accepted(NamedTuple):
    """A document without faults, ready to be saved."""

    name: str
    meaning: str
    record: bytes
    hints: tuple[Fault, ...]


async def aside(text: bytes, work: Callable[[], T]) -> T:
    """The work's result; for a text that isn't small it is done in a thread, so that the loop goes on."""
    return work() if len(text) <= SMALL_TEXT_BYTES else await asyncio.to_thread(work)


def accept(text: bytes, known: dict[str, ClassDeclaration], *, syntax: Syntax = "json") -> Accepted:
    """Check a document.

    Raises:
        DefinitionError: it has faults; every one of them is listed.
    """
    source = read_source(text, syntax=syntax)
    report = check(source.document, known)
    hints = source.located(report.hints)
    if report.document is None or not report.accepted:
        raise DefinitionError(source.located(report.faults), hints)
    document = report.document
    declarations = pinned(document, known)
    record = VersionRecord(
        document=document.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"positions"}),
        declarations=declarations,
        description=document.description,
        labels=dict(document.labels),
    )
    return Accepted(
        name=document.name,
        meaning=meaning_hash(document, declarations),
        record=encode_record(record),
        hints=hints,
    )


def validate(text: bytes, known: dict[str, ClassDeclaration], *, syntax: Syntax = "json") -> View:
    """What a document would be, were it saved."""
    try:
        source = read_source(text, syntax=syntax)
    except DefinitionError as error:
        return _validation(error.faults, (), None)
    written = source.document
    meant = written if source.syntax == "yaml" else None
    report = check(written, known)
    faults, hints = source.located(report.faults), source.located(report.hints)
    if report.definition is not None:
        return _validation(faults, hints, graph_view(report.definition), meant)
    sketched: View | None = None
    shape = read_shape(written, limits=DEFAULT_LIMITS, nearest=Nearest())
    if shape.document is not None and shape.document.nodes:
        try:
            sketched = sketch_view(shape.document, known)
        except LimitExceeded:
            sketched = None  # too large to be drawn; the report says so as a fault
    return _validation(faults, hints, sketched, meant)


def _validation(
    faults: tuple[Fault, ...], hints: tuple[Fault, ...], graph: View | None, document: Any = None
) -> View:
    return {
        "valid": not faults,
        "faults": [fault_view(fault) for fault in faults],
        "hints": [fault_view(hint) for hint in hints],
        "graph": graph,
        "document": document if is_dict(document) else None,
    }


def hints_of(record: VersionRecord) -> list[View]:
    """The hints of a version that was saved."""
    document = WorkflowDocument.model_validate(record.document)
    written = document.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return [fault_view(hint) for hint in check(written, record.declarations).hints]
