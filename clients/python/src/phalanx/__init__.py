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
    VersionMismatch,
)
from phalanx.message import Message, MessageLike, Sent

__version__ = "0.1.0"

__all__ = [
    "Admin", "AlreadyExists", "BatchRefused", "Client", "Closed", "ClusterStatus", "Consumer", "ConsumerInfo",
    "ConsumerReplaced", "DedupFull", "Delivery", "Denied", "Duplicate", "Error", "GroupStatus", "Invalid", "LeaseOver",
    "Message", "MessageLike", "NodeStatus", "NotLeader", "Other", "OutcomeUnknown", "Overloaded", "Producer",
    "ProducerForgotten", "Queue", "QueueFull", "QueueGone", "QueueInfo", "QueueNotFound", "QueueSettings", "Receiver",
    "ReturnReason", "Sent", "SequenceGap", "TooManyConsumers", "Topology", "Unavailable", "VersionMismatch", "aio",
    "random_id",
]
