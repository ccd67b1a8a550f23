"""What one run tells another: a message is a row in the sender's queue until the receiver has recorded it."""

import msgspec

from orchestrator.kernel.values import ErrorInfo, Parent, Payload


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="message", omit_defaults=True):
    """`to` is the receiving run. Delivering a message twice does what delivering it once does."""

    to: str


class StartChild(Message, tag="start_child", frozen=True):
    """Start the run `to`, for which the task `parent` waits."""

    workflow: str
    parent: Parent
    depth: int
    namespace: str = "default"
    version: int | None = None
    input: Payload | None = None
    priority: int = 0


class CancelChild(Message, tag="cancel_child", frozen=True):
    """The task that waited for the run `to` is gone: cancel the run. `passed_on`: by the run that it goes on for."""

    passed_on: bool = False


class StartSuccessor(Message, tag="start_successor", frozen=True):
    """Start the run `to`, which goes on for the sender. What it starts with stands in the sender's state."""


class ChildEnded(Message, tag="child_ended", frozen=True):
    """The run `run` has ended; the task `path` of `to` waits for it under `step`."""

    run: str
    path: str
    step: str
    output: Payload | None = None
    error: ErrorInfo | None = None


AnyMessage = StartChild | StartSuccessor | CancelChild | ChildEnded

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def encode_message(message: AnyMessage) -> bytes:
    """As it stands in the queue row."""
    return _encoder.encode(message)


def decode_message(data: bytes) -> AnyMessage:
    """The inverse. Raises msgspec.ValidationError for what this release doesn't know."""
    return _decoder.decode(data)
