"""Versions of workflows as the engine uses them: the record that is kept with a version, compiled once and cached."""

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


def compile_version(row: WorkflowVersion) -> Definition:
    """The definition of a stored version."""
    record = decode_record(row.record)
    return compile_definition(WorkflowDocument.model_validate(record.document), record.declarations)
