"""The Python client of Phalanx, a replicated message queue.

::

    import phalanx

    with phalanx.Client(["127.0.0.1:7420"]) as client:
        client.admin.create_queue("orders")
        client.send("orders", b"three anvils")
        with client.consumer("orders") as consumer:
            for delivery in consumer:
                print(delivery.body)
                delivery.ack()

:class:`Client` is for threads; :mod:`phalanx.aio` has the same for asyncio, and is what this one runs on.
"""

from phalanx import aio
from phalanx._core.call import random_id
from phalanx._core.lease import ReturnReason
from phalanx.admin_types import (
    ClusterStatus,
    ConsumerInfo,
    GroupStatus,
    NodeStatus,
    Queue,
    QueueInfo,
    QueueSettings,
    Topology,
)
from phalanx.binding_types import Binding, BindingInfo, Conditions
from phalanx.blocking import Admin, Client, Consumer, Delivery, Producer, Receiver
from phalanx.errors import (
    AlreadyExists,
    BatchRefused,
    Closed,
    ConsumerReplaced,
    DedupFull,
    Denied,
    Duplicate,
    Error,
    Exclusive,
    Invalid,
    LeaseOver,
    NotLeader,
    Other,
    OutcomeUnknown,
    Overloaded,
    ProducerForgotten,
    QueueFull,
    QueueGone,
    QueueNotFound,
    SequenceGap,
    TooManyConsumers,
    Unavailable,
    Unroutable,
    VersionMismatch,
)
from phalanx.message import Message, MessageLike, Sent
from phalanx.topic_types import (
    LogMessage,
    LogPage,
    Place,
    Subscription,
    SubscriptionSettings,
    Topic,
    TopicInfo,
    TopicSettings,
)

__version__ = "0.1.0"

__all__ = [
    "Admin", "AlreadyExists", "BatchRefused", "Binding", "BindingInfo", "Client", "Closed", "ClusterStatus",
    "Conditions", "Consumer", "ConsumerInfo", "ConsumerReplaced", "DedupFull", "Delivery", "Denied", "Duplicate",
    "Error", "Exclusive", "GroupStatus", "Invalid", "LeaseOver", "LogMessage", "LogPage", "Message", "MessageLike",
    "NodeStatus", "NotLeader", "Other", "OutcomeUnknown", "Overloaded", "Place", "Producer", "ProducerForgotten",
    "Queue", "QueueFull", "QueueGone", "QueueInfo", "QueueNotFound", "QueueSettings", "Receiver", "ReturnReason",
    "Sent", "SequenceGap", "Subscription", "SubscriptionSettings", "TooManyConsumers", "Topic", "TopicInfo",
    "TopicSettings", "Topology", "Unavailable", "Unroutable", "VersionMismatch", "aio", "random_id",
]
