"""What people hand over to start a run, checked before anything happens: the input, the labels."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from orchestrator.engine.attempts.payloads import to_json
from orchestrator.engine.engine import Engine
from orchestrator.errors import Fault, InvalidInput, LimitExceeded
from orchestrator.kernel.values import Payload
from orchestrator.model.limits import DEFAULT_LIMITS
from orchestrator.model.nearest import shorten
from orchestrator.model.pointers import join_pointer
from orchestrator.model.reading import examine
from orchestrator.stores.contract import Blob

LABEL_KEY_CHARACTERS_MAX = 200
LABEL_VALUE_CHARACTERS_MAX = 1_000
FAULTS_MAX = 100


def check_input(value: Any, schema: Mapping[str, Any] | None) -> None:
    """Refuse an input that can't be kept, or that doesn't satisfy the workflow's `input_schema`.

    Raises:
        InvalidInput: every fault (at most 100), with a pointer that begins with `/input`.
    """
    _refuse(_moved(examine(value), "/input"))
    if schema is not None:
        _refuse(_schema_faults(value, msgspec.json.encode(schema)))


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that are too many, too long or not storable.

    Raises:
        LimitExceeded: more than 32 (the workflow's own count too).
        InvalidInput: one is empty, too long, or holds what can't be kept.
    """
    if len(labels) > DEFAULT_LIMITS.labels_max:
        raise LimitExceeded("labels of a run", value=len(labels), maximum=DEFAULT_LIMITS.labels_max)
    faults = _moved(examine(dict(labels)), "/labels")
    for key, value in labels.items():
        at = join_pointer("/labels", key)
        if not 1 <= len(key) <= LABEL_KEY_CHARACTERS_MAX:
            message = f"the name of a label has 1 to {LABEL_KEY_CHARACTERS_MAX} characters"
            faults.append(Fault(pointer=at, code="bad_label", message=message))
        if len(value) > LABEL_VALUE_CHARACTERS_MAX:
            message = f"a label has at most {LABEL_VALUE_CHARACTERS_MAX:,} characters"
            faults.append(Fault(pointer=at, code="bad_label", message=message))
    _refuse(faults)


def request_hash(
    *, workflow: str, version: int | None, input: Any, labels: Mapping[str, str], priority: int = 0
) -> str:
    """What tells the repeat of a request from another request under the same idempotency key."""
    asked: dict[str, Any] = {
        "workflow": workflow,
        "version": version,
        "input": input,
        "labels": dict(sorted(labels.items())),
    }
    if priority:
        asked["priority"] = priority
    return hashlib.sha256(to_json(asked)).hexdigest()


def encode(engine: Engine, value: Any, *, run_id: str, what: str) -> tuple[Payload, list[Blob]]:
    """A value that somebody handed over, as a payload of the run, with the blob to commit beside it.

    Raises:
        LimitExceeded: it is too large; `what` names it.
    """
    maximum = engine.config.payload_bytes_max
    size = len(to_json(value)) if value is not None else 0
    if size > maximum:
        raise LimitExceeded(what, value=size, maximum=maximum, unit="bytes")
    return engine.encode(value, run_id=run_id)


def _moved(faults: list[Fault], base: str) -> list[Fault]:
    return [
        Fault(
            pointer=base + fault.pointer, code=fault.code, message=fault.message, suggestion=fault.suggestion
        )
        for fault in faults
    ]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise InvalidInput(faults[:FAULTS_MAX])


def _schema_faults(value: Any, schema: bytes) -> list[Fault]:
    faults: list[Fault] = []
    for error in _validator(schema).iter_errors(value):
        at = join_pointer("/input", *error.absolute_path)
        message = shorten(error.message, length=300)
        faults.append(Fault(pointer=at, code=str(error.validator), message=message))
        if len(faults) == FAULTS_MAX:
            break
    return faults


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Any:
    from jsonschema import Draft202012Validator  # heavy: only where a workflow has an input schema

    return Draft202012Validator(msgspec.json.decode(schema))
