"""What the administration of bindings talks about, apart from the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from phalanx.admin_types import _seconds, time_of
from phalanx.v1 import admin_pb2 as pb


@dataclass(frozen=True)
class Conditions:
    """Which messages of a topic a binding carries. Default: all."""

    #: Over routing keys: words between dots, ``*`` for one word, ``#`` for any number. Empty: any key.
    pattern: str = ""
    #: Over headers, such as ``region = 'eu' and amount >= 10.5``. Empty: any message.
    filter: str = ""


@dataclass(frozen=True)
class Binding:
    """A binding as the catalog knows it."""

    #: Where it lives.
    namespace: str
    #: Its topic.
    topic: str
    #: Its name within the topic, which no subscription has.
    name: str
    #: The queue or topic that it feeds.
    target: str
    #: Identity of this life of the binding.
    uid: int
    #: The group that holds it: its topic's.
    shard: int
    #: Rises with each change.
    version: int
    #: What it carries.
    conditions: Conditions
    #: When it was created, by the cluster's time.
    created: datetime
    #: ``creating``, ``live``, ``deleting``, or ``target-deleted``: what it fed is gone. The last only of bindings that were listed or looked at.
    state: str

    @classmethod
    def from_wire(cls, one: pb.Binding) -> Binding:
        """As it came."""
        conditions = Conditions(one.pattern, one.filter)
        created = time_of(one.created_ms)
        return cls(
            one.namespace, one.topic, one.name, one.target, one.uid, one.shard, one.version, conditions, created, one.state
        )


@dataclass(frozen=True)
class BindingInfo:
    """A binding, and what waits in it."""

    #: The binding.
    binding: Binding
    #: Messages that it has not carried yet: they count in the topic's limits.
    waiting: int
    #: Their payload bytes.
    waiting_bytes: int
    #: Age of the oldest of them, seconds; `None` when there is none.
    oldest_age: Optional[float]
    #: Messages that it has carried, ever.
    carried_total: int
    #: Messages of the past that its conditions have not been asked about.
    unseen: int
    #: What it fed was deleted: what waits goes nowhere until the binding is deleted.
    target_gone: bool

    @classmethod
    def from_wire(cls, info: pb.BindingInfo) -> BindingInfo:
        """As it came."""
        return cls(
            Binding.from_wire(info.binding),
            info.waiting,
            info.waiting_bytes,
            _seconds(info.oldest_age_ms),
            info.carried_total,
            info.unseen,
            info.target_gone,
        )
