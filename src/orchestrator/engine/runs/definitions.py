"""Versions of workflows as the engine uses them: the record that is kept with a version, compiled once and cached."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.errors import NotFound
from orchestrator.model.declarations import ClassDeclaration
from orchestrator.model.definition import Definition, compile_definition
from orchestrator.model.document import WorkflowDocument
from orchestrator.stores.contract import NAMESPACE, Store, WorkflowVersion

DEFINITIONS_CACHED_MAX = 256


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is pinned to: the document's meaning and what its classes declared when it was saved."""

    document: dict[str, Any]
    declarations: dict[str, ClassDeclaration]
    description: str = ""
    labels: dict[str, str] = {}


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(VersionRecord)


def encode_record(record: VersionRecord) -> bytes:
    """As it is kept in the store."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> VersionRecord:
    """The inverse of `encode_record`."""
    return _decoder.decode(data)


def pinned(document: WorkflowDocument, known: Mapping[str, ClassDeclaration]) -> dict[str, ClassDeclaration]:
    """Of the known declarations those that the document uses, by their own names."""
    from_document = {node.class_name for node in document.nodes.values()}
    return {
        declaration.name: declaration
        for declaration in known.values()
        if from_document
        & {declaration.name, declaration.name.removesuffix("Node"), declaration.name + "Node"}
    }


class Definitions:
    """Compiled versions, least recently used out first. A version never changes, so nothing here goes stale."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: OrderedDict[tuple[str, str, int], Definition] = OrderedDict()
        self._current: dict[tuple[str, str], tuple[str, int]] = {}
        self._turn = 0
        self._turn_ends = False

    async def get(self, name: str, version: int, *, namespace: str = NAMESPACE) -> Definition:
        """The definition of a version, also of a deleted workflow.

        Raises:
            NotFound: there is no such version.
        """
        key = (namespace, name, version)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        row = await self._store.get_version(name, version, namespace=namespace, deleted=True)
        if row is None:
            raise NotFound("workflow version", f"{name} {version}")
        definition = compile_version(row)
        self._cache[key] = definition
        if len(self._cache) > DEFINITIONS_CACHED_MAX:
            self._cache.popitem(last=False)
        return definition

    async def version_for(
        self, name: str, version: int | None, *, namespace: str = NAMESPACE, deleted: bool = False
    ) -> tuple[str, int]:
        """The name and number of the version that a new run takes: the named one, or the current one.

        Runs that start in one turn of the event loop share the question after the current version. Whoever saved
        another one hears of it in a later turn, so his runs take that.

        Raises:
            NotFound: no such workflow or version.
        """
        shared = version is None and not deleted
        found = self._current.get((namespace, name)) if shared else None
        if found is not None:
            return found
        if shared and not self._turn_ends:
            self._turn_ends = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        turn = self._turn
        row = await self._store.get_version(name, version, namespace=namespace, deleted=deleted)
        if row is None:
            raise NotFound("workflow" if version is None else f"version {version} of workflow", name)
        if (
            shared and turn == self._turn
        ):  # an answer that came later may be older than what others heard meanwhile
            self._current[(namespace, name)] = row.name, row.version
        return row.name, row.version

    def _end_turn(self) -> None:
        self._turn += 1
        self._turn_ends = False
        self._current.clear()


def compile_version(row: WorkflowVersion) -> Definition:
    """The definition of a stored version."""
    record = decode_record(row.record)
    return compile_definition(WorkflowDocument.model_validate(record.document), record.declarations)
