"""What the administration of topics talks about, apart from the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Optional, Tuple

from phalanx.admin_types import _seconds, millis, time_of
from phalanx.message import Message, from_wire
from phalanx.v1 import admin_pb2 as pb


@dataclass(frozen=True)
class TopicSettings:
    """How a topic behaves. `None` stands for the default. Time spans are seconds."""

    #: Most messages kept for subscriptions that have not settled them, beyond retained ones. Default 10,000,000.
    length_max: Optional[int] = None
    #: Most payload bytes of these. Default 8 GiB.
    bytes_max: Optional[int] = None
    #: How long deduplication ids are remembered. Default 5 min.
    dedup_window: Optional[float] = None
    #: Largest body of a message, bytes. Default 1 MiB; at most 16 MiB.
    body_bytes_max: Optional[int] = None
    #: The newest messages are kept for so long, whoever has settled them. Default: no limit by time if there is one by
    #: bytes, otherwise none is kept.
    retain: Optional[float] = None
    #: The newest messages are kept up to so many payload bytes. Default: 8 GiB if there is a limit by time.
    retain_bytes: Optional[int] = None
    #: Fixed when it is made: of each ordering key the newest message is kept. One without a body deletes its key.
    compact: bool = False

    def to_wire(self) -> pb.TopicSettings:
        """As they travel."""
        return pb.TopicSettings(
            length_max=self.length_max or 0,
            bytes_max=self.bytes_max or 0,
            dedup_window_ms=millis(self.dedup_window),
            body_bytes_max=self.body_bytes_max or 0,
            retain_ms=millis(self.retain),
            retain_bytes=self.retain_bytes or 0,
            compact=self.compact,
        )

    @classmethod
    def from_wire(cls, settings: pb.TopicSettings) -> TopicSettings:
        """As they came."""
        return cls(
            length_max=settings.length_max or None,
            bytes_max=settings.bytes_max or None,
            dedup_window=_seconds(settings.dedup_window_ms),
            body_bytes_max=settings.body_bytes_max or None,
            retain=_seconds(settings.retain_ms),
            retain_bytes=settings.retain_bytes or None,
            compact=settings.compact,
        )


@dataclass(frozen=True)
class SubscriptionSettings:
    """How a subscription behaves, and what it takes. `None` stands for the default. Time spans are seconds."""

    #: Over routing keys: words between dots, ``*`` for one word, ``#`` for any number. Empty: any key.
    pattern: str = ""
    #: Over headers, such as ``region = 'eu' and amount >= 10.5``. Empty: any message.
    filter: str = ""
    #: How long a delivery is its consumer's. Default 30 s; at most 12 h.
    lease: Optional[float] = None
    #: The whole subscription is one ordering group.
    strict: bool = False
    #: How long the leases of a lost consumer wait for it. Default 10 s.
    resume: Optional[float] = None
    #: Fixed when it is made: of each ordering key only the newest message waits.
    latest_only: bool = False
    #: Deleted after so long without a consumer and a receive. Default: never.
    expires: Optional[float] = None
    #: Has one consumer: others are refused while it is there.
    exclusive: bool = False

    def to_wire(self) -> pb.SubscriptionSettings:
        """As they travel, but for what it takes."""
        return pb.SubscriptionSettings(
            lease_ms=millis(self.lease),
            strict=self.strict,
            resume_ms=millis(self.resume),
            latest_only=self.latest_only,
            expires_ms=millis(self.expires),
            exclusive=self.exclusive,
        )


@dataclass(frozen=True)
class Topic:
    """A topic as the catalog knows it."""

    #: Where it lives.
    namespace: str
    #: Its name.
    name: str
    #: Identity of this life of the topic.
    uid: int
    #: The group that holds it, and its subscriptions.
    shard: int
    #: Rises with each change of the settings.
    version: int
    #: How it behaves.
    settings: TopicSettings
    #: When it was created, by the cluster's time.
    created: datetime
    #: ``creating``, ``live`` or ``deleting``.
    state: str

    @classmethod
    def from_wire(cls, topic: pb.Topic) -> Topic:
        """As it came."""
        return cls(
            topic.namespace,
            topic.name,
            topic.uid,
            topic.shard,
            topic.version,
            TopicSettings.from_wire(topic.settings),
            time_of(topic.created_ms),
            topic.state,
        )


@dataclass(frozen=True)
class TopicInfo:
    """A topic, and what is stored for its subscriptions."""

    #: The topic.
    topic: Topic
    #: Messages that are there: for subscriptions that have not settled them, and retained ones.
    stored: int
    #: Their payload bytes.
    bytes: int
    #: Age of the oldest of them, seconds; `None` when there is none.
    oldest_age: Optional[float]
    #: How many subscriptions it has.
    subscriptions: int
    #: All messages from here on are there.
    first_sequence: int
    #: The next message gets this place.
    next_sequence: int
    #: Messages published, ever.
    published_total: int
    #: The node that leads its shard.
    leader_node: int

    @classmethod
    def from_wire(cls, info: pb.TopicInfo) -> TopicInfo:
        """As it came."""
        return cls(
            topic=Topic.from_wire(info.topic),
            stored=info.stored,
            bytes=info.bytes,
            oldest_age=_seconds(info.oldest_age_ms),
            subscriptions=info.subscriptions,
            first_sequence=info.first_sequence,
            next_sequence=info.next_sequence,
            published_total=info.published_total,
            leader_node=info.leader_node,
        )


@dataclass(frozen=True)
class Subscription:
    """A subscription as the catalog knows it."""

    #: Where it lives.
    namespace: str
    #: Its topic.
    topic: str
    #: Its name within the topic.
    name: str
    #: ``topic/name``: its name as a queue, for consumers, receivers and ``queue_info``.
    queue: str
    #: Identity of this life of the subscription.
    uid: int
    #: The group that holds it: its topic's.
    shard: int
    #: Rises with each change.
    version: int
    #: How it behaves, and what it takes.
    settings: SubscriptionSettings
    #: When it was created, by the cluster's time.
    created: datetime
    #: ``creating``, ``live`` or ``deleting``.
    state: str

    @classmethod
    def from_wire(cls, one: pb.Subscription) -> Subscription:
        """As it came."""
        settings = SubscriptionSettings(
            pattern=one.pattern,
            filter=one.filter,
            lease=_seconds(one.settings.lease_ms),
            strict=one.settings.strict,
            resume=_seconds(one.settings.resume_ms),
            latest_only=one.settings.latest_only,
            expires=_seconds(one.settings.expires_ms),
            exclusive=one.settings.exclusive,
        )
        created = time_of(one.created_ms)
        return cls(
            one.namespace, one.topic, one.name, one.queue, one.uid, one.shard, one.version, settings, created, one.state
        )


@dataclass(frozen=True)
class Place:
    """A place in a topic's log: exactly one of these, or neither for behind the last message."""

    #: The first message that is kept.
    earliest: bool = False
    #: This message, or the first behind it.
    sequence: Optional[int] = None
    #: The first message that was published then or later, by the cluster's time.
    time: Optional[datetime] = None
    #: Where a mark of the subscription is.
    mark: Optional[str] = None

    def to_wire(self) -> pb.Place:
        """As it travels."""
        given = [self.earliest, self.sequence is not None, self.time is not None, self.mark is not None]
        if sum(given) > 1:
            raise ValueError("a place is one of earliest, sequence, time and mark")
        if self.earliest:
            return pb.Place(earliest=True)
        if self.sequence is not None:
            return pb.Place(sequence=self.sequence)
        if self.time is not None:
            return pb.Place(time_ms=max(0, int(self.time.timestamp() * 1000)))
        if self.mark is not None:
            return pb.Place(mark=self.mark)
        return pb.Place(latest=True)


@dataclass(frozen=True)
class LogMessage:
    """A message of a topic's log."""

    #: Its place.
    sequence: int
    #: When it was published, by the cluster's time.
    published: datetime
    #: What was published.
    message: Message


@dataclass(frozen=True)
class LogPage:
    """A page of a topic's log."""

    #: In the order of their sequences. May be fewer than asked for, or none, although there are more.
    messages: Tuple[LogMessage, ...]
    #: Where the next page begins.
    next_sequence: int
    #: The first message that is kept. Higher than what was asked for: those before it are gone.
    first_sequence: int
    #: There is more now.
    more: bool

    @classmethod
    def from_wire(cls, page: pb.ReadLogResponse) -> LogPage:
        """As it came."""
        messages = tuple(
            LogMessage(one.sequence, time_of(one.enqueued_ms), from_wire(one.message)) for one in page.messages
        )
        return cls(messages, page.next_sequence, page.first_sequence, page.more)
