from phalanx.v1 import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PeekedState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEEKED_STATE_UNSPECIFIED: _ClassVar[PeekedState]
    PEEKED_STATE_READY: _ClassVar[PeekedState]
    PEEKED_STATE_DELAYED: _ClassVar[PeekedState]
    PEEKED_STATE_LEASED: _ClassVar[PeekedState]
PEEKED_STATE_UNSPECIFIED: PeekedState
PEEKED_STATE_READY: PeekedState
PEEKED_STATE_DELAYED: PeekedState
PEEKED_STATE_LEASED: PeekedState

class QueueSettings(_message.Message):
    __slots__ = ("lease_ms", "strict", "length_max", "bytes_max", "dedup_window_ms", "resume_ms", "body_bytes_max", "expires_ms", "exclusive")
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MAX_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DEDUP_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_MS_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    strict: bool
    length_max: int
    bytes_max: int
    dedup_window_ms: int
    resume_ms: int
    body_bytes_max: int
    expires_ms: int
    exclusive: bool
    def __init__(self, lease_ms: _Optional[int] = ..., strict: bool = ..., length_max: _Optional[int] = ..., bytes_max: _Optional[int] = ..., dedup_window_ms: _Optional[int] = ..., resume_ms: _Optional[int] = ..., body_bytes_max: _Optional[int] = ..., expires_ms: _Optional[int] = ..., exclusive: bool = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("namespace", "name", "uid", "shard", "version", "settings", "created_ms", "state")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: int
    shard: int
    version: int
    settings: QueueSettings
    created_ms: int
    state: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ..., shard: _Optional[int] = ..., version: _Optional[int] = ..., settings: _Optional[_Union[QueueSettings, _Mapping]] = ..., created_ms: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class CreateQueueRequest(_message.Message):
    __slots__ = ("namespace", "name", "settings")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    settings: QueueSettings
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[QueueSettings, _Mapping]] = ...) -> None: ...

class UpdateQueueRequest(_message.Message):
    __slots__ = ("namespace", "name", "settings", "if_version", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    settings: QueueSettings
    if_version: int
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[QueueSettings, _Mapping]] = ..., if_version: _Optional[int] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteQueueRequest(_message.Message):
    __slots__ = ("namespace", "name", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("uid", "version", "kind")
    UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    uid: int
    version: int
    kind: str
    def __init__(self, uid: _Optional[int] = ..., version: _Optional[int] = ..., kind: _Optional[str] = ...) -> None: ...

class PurgeQueueRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class PurgeQueueResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class GetQueueRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class QueueInfo(_message.Message):
    __slots__ = ("queue", "ready", "leased", "delayed", "bytes", "groups", "oldest_age_ms", "next_sequence", "producers", "sent_total", "acked_total", "delivered_total", "redelivered_total", "consumers", "leader_node", "unseen", "marks")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    DELAYED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    SENT_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ACKED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    REDELIVERED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    queue: Queue
    ready: int
    leased: int
    delayed: int
    bytes: int
    groups: int
    oldest_age_ms: int
    next_sequence: int
    producers: int
    sent_total: int
    acked_total: int
    delivered_total: int
    redelivered_total: int
    consumers: _containers.RepeatedCompositeFieldContainer[ConsumerInfo]
    leader_node: int
    unseen: int
    marks: _containers.RepeatedCompositeFieldContainer[Mark]
    def __init__(self, queue: _Optional[_Union[Queue, _Mapping]] = ..., ready: _Optional[int] = ..., leased: _Optional[int] = ..., delayed: _Optional[int] = ..., bytes: _Optional[int] = ..., groups: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., next_sequence: _Optional[int] = ..., producers: _Optional[int] = ..., sent_total: _Optional[int] = ..., acked_total: _Optional[int] = ..., delivered_total: _Optional[int] = ..., redelivered_total: _Optional[int] = ..., consumers: _Optional[_Iterable[_Union[ConsumerInfo, _Mapping]]] = ..., leader_node: _Optional[int] = ..., unseen: _Optional[int] = ..., marks: _Optional[_Iterable[_Union[Mark, _Mapping]]] = ...) -> None: ...

class ConsumerInfo(_message.Message):
    __slots__ = ("consumer_id", "name", "attached", "in_hand", "window_messages")
    CONSUMER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    IN_HAND_FIELD_NUMBER: _ClassVar[int]
    WINDOW_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    consumer_id: bytes
    name: str
    attached: bool
    in_hand: int
    window_messages: int
    def __init__(self, consumer_id: _Optional[bytes] = ..., name: _Optional[str] = ..., attached: bool = ..., in_hand: _Optional[int] = ..., window_messages: _Optional[int] = ...) -> None: ...

class ListQueuesRequest(_message.Message):
    __slots__ = ("namespace", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues", "next_page_token")
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    next_page_token: str
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PeekRequest(_message.Message):
    __slots__ = ("namespace", "name", "from_sequence", "max_messages", "group")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    from_sequence: int
    max_messages: int
    group: bytes
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., from_sequence: _Optional[int] = ..., max_messages: _Optional[int] = ..., group: _Optional[bytes] = ...) -> None: ...

class PeekResponse(_message.Message):
    __slots__ = ("messages", "next_sequence")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[PeekedMessage]
    next_sequence: int
    def __init__(self, messages: _Optional[_Iterable[_Union[PeekedMessage, _Mapping]]] = ..., next_sequence: _Optional[int] = ...) -> None: ...

class PeekedMessage(_message.Message):
    __slots__ = ("sequence", "enqueued_ms", "state", "attempts", "returned", "until_ms", "left_ms", "token", "holder", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    LEFT_MS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    enqueued_ms: int
    state: PeekedState
    attempts: int
    returned: _messages_pb2.ReturnReason
    until_ms: int
    left_ms: int
    token: int
    holder: Holder
    message: _messages_pb2.Message
    def __init__(self, sequence: _Optional[int] = ..., enqueued_ms: _Optional[int] = ..., state: _Optional[_Union[PeekedState, str]] = ..., attempts: _Optional[int] = ..., returned: _Optional[_Union[_messages_pb2.ReturnReason, str]] = ..., until_ms: _Optional[int] = ..., left_ms: _Optional[int] = ..., token: _Optional[int] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ..., message: _Optional[_Union[_messages_pb2.Message, _Mapping]] = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("consumer_id", "name")
    CONSUMER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    consumer_id: bytes
    name: str
    def __init__(self, consumer_id: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ("namespace", "name", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGroupsResponse(_message.Message):
    __slots__ = ("groups", "next_page_token")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[QueueGroup]
    next_page_token: str
    def __init__(self, groups: _Optional[_Iterable[_Union[QueueGroup, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class QueueGroup(_message.Message):
    __slots__ = ("key", "messages", "leased", "oldest_age_ms", "holder")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    LEASED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    messages: int
    leased: int
    oldest_age_ms: int
    holder: Holder
    def __init__(self, key: _Optional[bytes] = ..., messages: _Optional[int] = ..., leased: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class TopicSettings(_message.Message):
    __slots__ = ("length_max", "bytes_max", "dedup_window_ms", "body_bytes_max", "retain_ms", "retain_bytes", "compact")
    LENGTH_MAX_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DEDUP_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    RETAIN_MS_FIELD_NUMBER: _ClassVar[int]
    RETAIN_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    length_max: int
    bytes_max: int
    dedup_window_ms: int
    body_bytes_max: int
    retain_ms: int
    retain_bytes: int
    compact: bool
    def __init__(self, length_max: _Optional[int] = ..., bytes_max: _Optional[int] = ..., dedup_window_ms: _Optional[int] = ..., body_bytes_max: _Optional[int] = ..., retain_ms: _Optional[int] = ..., retain_bytes: _Optional[int] = ..., compact: bool = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("earliest", "latest", "sequence", "time_ms", "mark")
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    earliest: bool
    latest: bool
    sequence: int
    time_ms: int
    mark: str
    def __init__(self, earliest: bool = ..., latest: bool = ..., sequence: _Optional[int] = ..., time_ms: _Optional[int] = ..., mark: _Optional[str] = ...) -> None: ...

class Mark(_message.Message):
    __slots__ = ("name", "sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sequence: int
    def __init__(self, name: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class SeekSubscriptionRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "place")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    place: Place
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., place: _Optional[_Union[Place, _Mapping]] = ...) -> None: ...

class SeekSubscriptionResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class MarkSubscriptionRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "mark", "remove")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    mark: str
    remove: bool
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., mark: _Optional[str] = ..., remove: bool = ...) -> None: ...

class MarkSubscriptionResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class ReadLogRequest(_message.Message):
    __slots__ = ("namespace", "name", "from_sequence", "max_messages")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    from_sequence: int
    max_messages: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., from_sequence: _Optional[int] = ..., max_messages: _Optional[int] = ...) -> None: ...

class ReadLogResponse(_message.Message):
    __slots__ = ("messages", "next_sequence", "first_sequence", "more")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[LogMessage]
    next_sequence: int
    first_sequence: int
    more: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[LogMessage, _Mapping]]] = ..., next_sequence: _Optional[int] = ..., first_sequence: _Optional[int] = ..., more: bool = ...) -> None: ...

class LogMessage(_message.Message):
    __slots__ = ("sequence", "enqueued_ms", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENQUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    enqueued_ms: int
    message: _messages_pb2.Message
    def __init__(self, sequence: _Optional[int] = ..., enqueued_ms: _Optional[int] = ..., message: _Optional[_Union[_messages_pb2.Message, _Mapping]] = ...) -> None: ...

class Topic(_message.Message):
    __slots__ = ("namespace", "name", "uid", "shard", "version", "settings", "created_ms", "state")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: int
    shard: int
    version: int
    settings: TopicSettings
    created_ms: int
    state: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ..., shard: _Optional[int] = ..., version: _Optional[int] = ..., settings: _Optional[_Union[TopicSettings, _Mapping]] = ..., created_ms: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class CreateTopicRequest(_message.Message):
    __slots__ = ("namespace", "name", "settings")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    settings: TopicSettings
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[TopicSettings, _Mapping]] = ...) -> None: ...

class UpdateTopicRequest(_message.Message):
    __slots__ = ("namespace", "name", "settings", "if_version", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    settings: TopicSettings
    if_version: int
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[TopicSettings, _Mapping]] = ..., if_version: _Optional[int] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteTopicRequest(_message.Message):
    __slots__ = ("namespace", "name", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteTopicResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTopicRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class TopicInfo(_message.Message):
    __slots__ = ("topic", "stored", "bytes", "oldest_age_ms", "subscriptions", "next_sequence", "producers", "published_total", "leader_node", "first_sequence")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    stored: int
    bytes: int
    oldest_age_ms: int
    subscriptions: int
    next_sequence: int
    producers: int
    published_total: int
    leader_node: int
    first_sequence: int
    def __init__(self, topic: _Optional[_Union[Topic, _Mapping]] = ..., stored: _Optional[int] = ..., bytes: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., subscriptions: _Optional[int] = ..., next_sequence: _Optional[int] = ..., producers: _Optional[int] = ..., published_total: _Optional[int] = ..., leader_node: _Optional[int] = ..., first_sequence: _Optional[int] = ...) -> None: ...

class ListTopicsRequest(_message.Message):
    __slots__ = ("namespace", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTopicsResponse(_message.Message):
    __slots__ = ("topics", "next_page_token")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[Topic]
    next_page_token: str
    def __init__(self, topics: _Optional[_Iterable[_Union[Topic, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SubscriptionSettings(_message.Message):
    __slots__ = ("lease_ms", "strict", "resume_ms", "latest_only", "expires_ms", "exclusive")
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    RESUME_MS_FIELD_NUMBER: _ClassVar[int]
    LATEST_ONLY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    strict: bool
    resume_ms: int
    latest_only: bool
    expires_ms: int
    exclusive: bool
    def __init__(self, lease_ms: _Optional[int] = ..., strict: bool = ..., resume_ms: _Optional[int] = ..., latest_only: bool = ..., expires_ms: _Optional[int] = ..., exclusive: bool = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("namespace", "topic", "name", "queue", "uid", "shard", "version", "settings", "pattern", "filter", "created_ms", "state")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    queue: str
    uid: int
    shard: int
    version: int
    settings: SubscriptionSettings
    pattern: str
    filter: str
    created_ms: int
    state: str
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., queue: _Optional[str] = ..., uid: _Optional[int] = ..., shard: _Optional[int] = ..., version: _Optional[int] = ..., settings: _Optional[_Union[SubscriptionSettings, _Mapping]] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., created_ms: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class CreateSubscriptionRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "settings", "pattern", "filter", "start")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    settings: SubscriptionSettings
    pattern: str
    filter: str
    start: Place
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[SubscriptionSettings, _Mapping]] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., start: _Optional[_Union[Place, _Mapping]] = ...) -> None: ...

class UpdateSubscriptionRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "settings", "pattern", "filter", "if_version", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    settings: SubscriptionSettings
    pattern: str
    filter: str
    if_version: int
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[SubscriptionSettings, _Mapping]] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., if_version: _Optional[int] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteSubscriptionRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteSubscriptionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSubscriptionsRequest(_message.Message):
    __slots__ = ("namespace", "topic", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[Subscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[Subscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("namespace", "topic", "name", "target", "uid", "shard", "version", "pattern", "filter", "created_ms", "state")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    target: str
    uid: int
    shard: int
    version: int
    pattern: str
    filter: str
    created_ms: int
    state: str
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., target: _Optional[str] = ..., uid: _Optional[int] = ..., shard: _Optional[int] = ..., version: _Optional[int] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., created_ms: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class BindingInfo(_message.Message):
    __slots__ = ("binding", "waiting", "waiting_bytes", "oldest_age_ms", "carried_total", "unseen", "target_gone")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_BYTES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    CARRIED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    TARGET_GONE_FIELD_NUMBER: _ClassVar[int]
    binding: Binding
    waiting: int
    waiting_bytes: int
    oldest_age_ms: int
    carried_total: int
    unseen: int
    target_gone: bool
    def __init__(self, binding: _Optional[_Union[Binding, _Mapping]] = ..., waiting: _Optional[int] = ..., waiting_bytes: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., carried_total: _Optional[int] = ..., unseen: _Optional[int] = ..., target_gone: bool = ...) -> None: ...

class CreateBindingRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "target", "pattern", "filter", "start")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    target: str
    pattern: str
    filter: str
    start: Place
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., target: _Optional[str] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., start: _Optional[_Union[Place, _Mapping]] = ...) -> None: ...

class UpdateBindingRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "pattern", "filter", "if_version", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    pattern: str
    filter: str
    if_version: int
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., pattern: _Optional[str] = ..., filter: _Optional[str] = ..., if_version: _Optional[int] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteBindingRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name", "uid")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    uid: int
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[int] = ...) -> None: ...

class DeleteBindingResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBindingRequest(_message.Message):
    __slots__ = ("namespace", "topic", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListBindingsRequest(_message.Message):
    __slots__ = ("namespace", "topic", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBindingsResponse(_message.Message):
    __slots__ = ("bindings", "next_page_token")
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    next_page_token: str
    def __init__(self, bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("cluster_id", "node", "version", "nodes", "groups")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    node: int
    version: str
    nodes: _containers.RepeatedCompositeFieldContainer[NodeStatus]
    groups: _containers.RepeatedCompositeFieldContainer[GroupStatus]
    def __init__(self, cluster_id: _Optional[bytes] = ..., node: _Optional[int] = ..., version: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[NodeStatus, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[GroupStatus, _Mapping]]] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node", "client_address", "peer_address", "zone", "reachable")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    node: int
    client_address: str
    peer_address: str
    zone: str
    reachable: bool
    def __init__(self, node: _Optional[int] = ..., client_address: _Optional[str] = ..., peer_address: _Optional[str] = ..., zone: _Optional[str] = ..., reachable: bool = ...) -> None: ...

class GroupStatus(_message.Message):
    __slots__ = ("group", "leader_node", "term", "voter_nodes", "applied_index", "last_index", "digest", "state")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTER_NODES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    group: int
    leader_node: int
    term: int
    voter_nodes: _containers.RepeatedScalarFieldContainer[int]
    applied_index: int
    last_index: int
    digest: int
    state: str
    def __init__(self, group: _Optional[int] = ..., leader_node: _Optional[int] = ..., term: _Optional[int] = ..., voter_nodes: _Optional[_Iterable[int]] = ..., applied_index: _Optional[int] = ..., last_index: _Optional[int] = ..., digest: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class TopologyRequest(_message.Message):
    __slots__ = ("namespace", "queue")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    queue: str
    def __init__(self, namespace: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class TopologyResponse(_message.Message):
    __slots__ = ("nodes", "leader_node", "leader_term")
    NODES_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    LEADER_TERM_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeAddress]
    leader_node: int
    leader_term: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeAddress, _Mapping]]] = ..., leader_node: _Optional[int] = ..., leader_term: _Optional[int] = ...) -> None: ...

class NodeAddress(_message.Message):
    __slots__ = ("node", "client_address")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node: int
    client_address: str
    def __init__(self, node: _Optional[int] = ..., client_address: _Optional[str] = ...) -> None: ...
