"""Messages: what producers say and consumers get."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Iterator, List, Mapping, Union

from phalanx.v1 import messages_pb2 as pb


@dataclass(frozen=True)
class Message:
    """A message: a body, and what describes it. Text becomes UTF-8."""

    #: Opaque to the server. At most 1 MiB, unless the queue says otherwise.
    body: Union[bytes, str] = b""
    #: Free for applications, kept as they are.
    headers: Mapping[str, Union[bytes, str]] = field(default_factory=dict)
    #: Of the body; free text, such as ``application/json``.
    content_type: str = ""
    #: Ordering key: messages with the same key are settled in order, one holder at a time. Empty: none.
    group: Union[bytes, str] = b""
    #: Suppresses repeats inside the queue's deduplication window. Empty: none. At most 256 bytes.
    deduplication_id: str = ""
    #: Names the conversation; for applications.
    correlation_id: str = ""
    #: Where an answer is expected; for applications.
    reply_to: str = ""
    #: W3C trace context.
    traceparent: str = ""
    #: To a topic: words between dots, which the patterns of subscriptions look at. At most 255 bytes.
    routing_key: str = ""


#: What can be sent: a message, or just its body.
MessageLike = Union[Message, bytes, str]


@dataclass(frozen=True)
class Sent:
    """The server's answer to one message: it is on disk on a majority."""

    #: Its place in the queue; for a duplicate, the place of the message that was kept.
    sequence: int
    #: Its deduplication id had been seen: it was not appended again.
    duplicate: bool = False
    #: To a topic: how many subscriptions the messages of its batch matched, all of them together.
    matched: int = 0


def _bytes(value: Union[bytes, str]) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def to_wire(message: MessageLike) -> pb.Message:
    """As it travels."""
    if not isinstance(message, Message):
        return pb.Message(body=_bytes(message))
    return pb.Message(
        body=_bytes(message.body),
        headers={name: _bytes(value) for name, value in message.headers.items()},
        content_type=message.content_type,
        group=_bytes(message.group),
        deduplication_id=message.deduplication_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        traceparent=message.traceparent,
        routing_key=message.routing_key,
    )


def from_wire(message: pb.Message) -> Message:
    """As it came: body, group and header values are bytes."""
    return Message(
        body=message.body,
        headers=dict(message.headers),
        content_type=message.content_type,
        group=message.group,
        deduplication_id=message.deduplication_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        traceparent=message.traceparent,
        routing_key=message.routing_key,
    )


def size_of(message: pb.Message) -> int:
    """What the message counts for in windows of bytes: its body and all that describes it."""
    texts = (
        message.content_type,
        message.deduplication_id,
        message.correlation_id,
        message.reply_to,
        message.traceparent,
        message.routing_key,
    )
    size = len(message.body) + len(message.group) + sum(len(text.encode()) for text in texts if text)
    return size + sum(len(name.encode()) + len(value) for name, value in message.headers.items())


def sent_of(response: pb.SendResponse, messages: int) -> Iterator[Sent]:
    """One answer for each message of a batch, from the server's answer for the batch."""
    originals = {duplicate.position: duplicate.original_sequence for duplicate in response.duplicates}
    sequence = response.first_sequence
    for position in range(messages):
        if position in originals:
            yield Sent(originals[position], duplicate=True, matched=response.matched)
        else:
            yield Sent(sequence, matched=response.matched)
            sequence += 1


def all_to_wire(messages: object) -> List[pb.Message]:
    """A batch as it travels. One body is no batch: ``b"abc"`` would be three messages otherwise."""
    if isinstance(messages, (bytes, str, Message)):
        raise TypeError("expected a list of messages, not one message")
    return [to_wire(message) for message in messages]  # type: ignore[attr-defined]


def as_message(message: MessageLike) -> Message:
    """A message, also of a mere body."""
    return message if isinstance(message, Message) else Message(message)


def with_reply_to(message: MessageLike, reply_to: str, correlation_id: str) -> Message:
    """A request: says where its reply is expected, and has a correlation id."""
    asked = as_message(message)
    return replace(asked, reply_to=reply_to, correlation_id=asked.correlation_id or correlation_id)


def reply_of(reply: Message, request: Message, sequence: int) -> Message:
    """A reply that finds its request. One that is made twice is sent once, if the first is still remembered."""
    correlation_id = request.correlation_id
    return replace(reply, correlation_id=correlation_id, deduplication_id=f"{correlation_id}#{sequence}")
