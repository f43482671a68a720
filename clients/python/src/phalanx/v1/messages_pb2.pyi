from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReturnReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETURN_REASON_UNSPECIFIED: _ClassVar[ReturnReason]
    RETURN_REASON_NACKED: _ClassVar[ReturnReason]
    RETURN_REASON_EXPIRED: _ClassVar[ReturnReason]
    RETURN_REASON_CONSUMER_LOST: _ClassVar[ReturnReason]
    RETURN_REASON_GROUP_RETURNED: _ClassVar[ReturnReason]
    RETURN_REASON_CONSUMER_CLOSED: _ClassVar[ReturnReason]

class SettleAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLE_ACTION_UNSPECIFIED: _ClassVar[SettleAction]
    SETTLE_ACTION_ACK: _ClassVar[SettleAction]
    SETTLE_ACTION_NACK: _ClassVar[SettleAction]
    SETTLE_ACTION_REJECT: _ClassVar[SettleAction]
    SETTLE_ACTION_EXTEND: _ClassVar[SettleAction]

class SettleResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLE_RESULT_UNSPECIFIED: _ClassVar[SettleResult]
    SETTLE_RESULT_ACKED: _ClassVar[SettleResult]
    SETTLE_RESULT_NACKED: _ClassVar[SettleResult]
    SETTLE_RESULT_REJECTED: _ClassVar[SettleResult]
    SETTLE_RESULT_EXTENDED: _ClassVar[SettleResult]
    SETTLE_RESULT_LEASE_OVER: _ClassVar[SettleResult]
RETURN_REASON_UNSPECIFIED: ReturnReason
RETURN_REASON_NACKED: ReturnReason
RETURN_REASON_EXPIRED: ReturnReason
RETURN_REASON_CONSUMER_LOST: ReturnReason
RETURN_REASON_GROUP_RETURNED: ReturnReason
RETURN_REASON_CONSUMER_CLOSED: ReturnReason
SETTLE_ACTION_UNSPECIFIED: SettleAction
SETTLE_ACTION_ACK: SettleAction
SETTLE_ACTION_NACK: SettleAction
SETTLE_ACTION_REJECT: SettleAction
SETTLE_ACTION_EXTEND: SettleAction
SETTLE_RESULT_UNSPECIFIED: SettleResult
SETTLE_RESULT_ACKED: SettleResult
SETTLE_RESULT_NACKED: SettleResult
SETTLE_RESULT_REJECTED: SettleResult
SETTLE_RESULT_EXTENDED: SettleResult
SETTLE_RESULT_LEASE_OVER: SettleResult

class Message(_message.Message):
    __slots__ = ("body", "headers", "content_type", "group", "deduplication_id", "correlation_id", "reply_to", "traceparent", "routing_key")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    BODY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATION_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    headers: _containers.ScalarMap[str, bytes]
    content_type: str
    group: bytes
    deduplication_id: str
    correlation_id: str
    reply_to: str
    traceparent: str
    routing_key: str
    def __init__(self, body: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, bytes]] = ..., content_type: _Optional[str] = ..., group: _Optional[bytes] = ..., deduplication_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., reply_to: _Optional[str] = ..., traceparent: _Optional[str] = ..., routing_key: _Optional[str] = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("namespace", "queue", "messages", "request_id", "mandatory")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MANDATORY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    request_id: bytes
    mandatory: bool
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., request_id: _Optional[bytes] = ..., mandatory: bool = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("first_sequence", "count", "duplicates", "repeated", "matched")
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    first_sequence: int
    count: int
    duplicates: _containers.RepeatedCompositeFieldContainer[Duplicate]
    repeated: bool
    matched: int
    def __init__(self, first_sequence: _Optional[int] = ..., count: _Optional[int] = ..., duplicates: _Optional[_Iterable[_Union[Duplicate, _Mapping]]] = ..., repeated: bool = ..., matched: _Optional[int] = ...) -> None: ...

class Duplicate(_message.Message):
    __slots__ = ("position", "original_sequence")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    position: int
    original_sequence: int
    def __init__(self, position: _Optional[int] = ..., original_sequence: _Optional[int] = ...) -> None: ...

class SendStreamRequest(_message.Message):
    __slots__ = ("open", "batches")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    open: ProducerOpen
    batches: _containers.RepeatedCompositeFieldContainer[ProducerBatch]
    def __init__(self, open: _Optional[_Union[ProducerOpen, _Mapping]] = ..., batches: _Optional[_Iterable[_Union[ProducerBatch, _Mapping]]] = ...) -> None: ...

class ProducerOpen(_message.Message):
    __slots__ = ("namespace", "queue", "producer_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    producer_id: bytes
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., producer_id: _Optional[bytes] = ...) -> None: ...

class ProducerBatch(_message.Message):
    __slots__ = ("number", "messages", "mandatory")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MANDATORY_FIELD_NUMBER: _ClassVar[int]
    number: int
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    mandatory: bool
    def __init__(self, number: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., mandatory: bool = ...) -> None: ...

class SendStreamResponse(_message.Message):
    __slots__ = ("confirmations",)
    CONFIRMATIONS_FIELD_NUMBER: _ClassVar[int]
    confirmations: _containers.RepeatedCompositeFieldContainer[Confirmation]
    def __init__(self, confirmations: _Optional[_Iterable[_Union[Confirmation, _Mapping]]] = ...) -> None: ...

class Confirmation(_message.Message):
    __slots__ = ("number", "sent", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    sent: SendResponse
    failure: Failure
    def __init__(self, number: _Optional[int] = ..., sent: _Optional[_Union[SendResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "message", "consumed", "retry_delay_ms")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONSUMED_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    consumed: bool
    retry_delay_ms: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., consumed: bool = ..., retry_delay_ms: _Optional[int] = ...) -> None: ...

class ReceiveRequest(_message.Message):
    __slots__ = ("namespace", "queue", "consumer_id", "request_id", "max_messages", "wait_ms", "lease_ms", "repeated")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    consumer_id: bytes
    request_id: bytes
    max_messages: int
    wait_ms: int
    lease_ms: int
    repeated: bool
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., consumer_id: _Optional[bytes] = ..., request_id: _Optional[bytes] = ..., max_messages: _Optional[int] = ..., wait_ms: _Optional[int] = ..., lease_ms: _Optional[int] = ..., repeated: bool = ...) -> None: ...

class ReceiveResponse(_message.Message):
    __slots__ = ("deliveries",)
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    def __init__(self, deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("token", "sequence", "attempt", "deadline_ms", "enqueued_ms", "redelivery", "message", "lease_left_ms")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    REDELIVERY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LEASE_LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    token: int
    sequence: int
    attempt: int
    deadline_ms: int
    enqueued_ms: int
    redelivery: ReturnReason
    message: Message
    lease_left_ms: int
    def __init__(self, token: _Optional[int] = ..., sequence: _Optional[int] = ..., attempt: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., enqueued_ms: _Optional[int] = ..., redelivery: _Optional[_Union[ReturnReason, str]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., lease_left_ms: _Optional[int] = ...) -> None: ...

class ConsumeRequest(_message.Message):
    __slots__ = ("attach", "settle", "window", "close")
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    SETTLE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    attach: ConsumerAttach
    settle: _containers.RepeatedCompositeFieldContainer[SettleItem]
    window: Window
    close: bool
    def __init__(self, attach: _Optional[_Union[ConsumerAttach, _Mapping]] = ..., settle: _Optional[_Iterable[_Union[SettleItem, _Mapping]]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., close: bool = ...) -> None: ...

class ConsumerAttach(_message.Message):
    __slots__ = ("namespace", "queue", "consumer_id", "incarnation", "name", "window", "lease_ms", "held")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    consumer_id: bytes
    incarnation: int
    name: str
    window: Window
    lease_ms: int
    held: _containers.RepeatedCompositeFieldContainer[TokenRange]
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., consumer_id: _Optional[bytes] = ..., incarnation: _Optional[int] = ..., name: _Optional[str] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., lease_ms: _Optional[int] = ..., held: _Optional[_Iterable[_Union[TokenRange, _Mapping]]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("messages", "bytes")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    messages: int
    bytes: int
    def __init__(self, messages: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ConsumeResponse(_message.Message):
    __slots__ = ("attached", "deliveries", "settled", "ended")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    attached: ConsumerAttached
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    settled: _containers.RepeatedCompositeFieldContainer[SettleOutcome]
    ended: _containers.RepeatedCompositeFieldContainer[LeaseEnded]
    def __init__(self, attached: _Optional[_Union[ConsumerAttached, _Mapping]] = ..., deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ..., settled: _Optional[_Iterable[_Union[SettleOutcome, _Mapping]]] = ..., ended: _Optional[_Iterable[_Union[LeaseEnded, _Mapping]]] = ...) -> None: ...

class ConsumerAttached(_message.Message):
    __slots__ = ("lost", "lease_ms", "strict")
    LOST_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    lost: _containers.RepeatedScalarFieldContainer[int]
    lease_ms: int
    strict: bool
    def __init__(self, lost: _Optional[_Iterable[int]] = ..., lease_ms: _Optional[int] = ..., strict: bool = ...) -> None: ...

class LeaseEnded(_message.Message):
    __slots__ = ("token", "reason")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    token: int
    reason: ReturnReason
    def __init__(self, token: _Optional[int] = ..., reason: _Optional[_Union[ReturnReason, str]] = ...) -> None: ...

class TokenRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class SettleItem(_message.Message):
    __slots__ = ("action", "tokens", "up_to", "delay_ms", "lease_ms")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    action: SettleAction
    tokens: _containers.RepeatedCompositeFieldContainer[TokenRange]
    up_to: int
    delay_ms: int
    lease_ms: int
    def __init__(self, action: _Optional[_Union[SettleAction, str]] = ..., tokens: _Optional[_Iterable[_Union[TokenRange, _Mapping]]] = ..., up_to: _Optional[int] = ..., delay_ms: _Optional[int] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("namespace", "queue", "consumer_id", "items")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    consumer_id: bytes
    items: _containers.RepeatedCompositeFieldContainer[SettleItem]
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ..., consumer_id: _Optional[bytes] = ..., items: _Optional[_Iterable[_Union[SettleItem, _Mapping]]] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[SettleOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[SettleOutcome, _Mapping]]] = ...) -> None: ...

class SettleOutcome(_message.Message):
    __slots__ = ("tokens", "result", "deadline_ms")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    tokens: TokenRange
    result: SettleResult
    deadline_ms: int
    def __init__(self, tokens: _Optional[_Union[TokenRange, _Mapping]] = ..., result: _Optional[_Union[SettleResult, str]] = ..., deadline_ms: _Optional[int] = ...) -> None: ...
