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
    __slots__ = ("lease_ms", "strict", "length_max", "bytes_max", "dedup_window_ms", "resume_ms", "body_bytes_max")
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_MAX_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DEDUP_WINDOW_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_MS_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    strict: bool
    length_max: int
    bytes_max: int
    dedup_window_ms: int
    resume_ms: int
    body_bytes_max: int
    def __init__(self, lease_ms: _Optional[int] = ..., strict: bool = ..., length_max: _Optional[int] = ..., bytes_max: _Optional[int] = ..., dedup_window_ms: _Optional[int] = ..., resume_ms: _Optional[int] = ..., body_bytes_max: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("namespace", "name", "settings", "if_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    settings: QueueSettings
    if_version: int
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Union[QueueSettings, _Mapping]] = ..., if_version: _Optional[int] = ...) -> None: ...

class DeleteQueueRequest(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DeleteQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

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
    __slots__ = ("queue", "ready", "leased", "delayed", "bytes", "groups", "oldest_age_ms", "next_sequence", "producers", "sent_total", "acked_total", "delivered_total", "redelivered_total", "consumers", "leader_node")
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
    def __init__(self, queue: _Optional[_Union[Queue, _Mapping]] = ..., ready: _Optional[int] = ..., leased: _Optional[int] = ..., delayed: _Optional[int] = ..., bytes: _Optional[int] = ..., groups: _Optional[int] = ..., oldest_age_ms: _Optional[int] = ..., next_sequence: _Optional[int] = ..., producers: _Optional[int] = ..., sent_total: _Optional[int] = ..., acked_total: _Optional[int] = ..., delivered_total: _Optional[int] = ..., redelivered_total: _Optional[int] = ..., consumers: _Optional[_Iterable[_Union[ConsumerInfo, _Mapping]]] = ..., leader_node: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("nodes", "leader_node")
    NODES_FIELD_NUMBER: _ClassVar[int]
    LEADER_NODE_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeAddress]
    leader_node: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeAddress, _Mapping]]] = ..., leader_node: _Optional[int] = ...) -> None: ...

class NodeAddress(_message.Message):
    __slots__ = ("node", "client_address")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node: int
    client_address: str
    def __init__(self, node: _Optional[int] = ..., client_address: _Optional[str] = ...) -> None: ...
