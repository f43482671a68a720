"""The calls of `phalanx.v1`, and the channel to one node."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Generic, List, Optional, Tuple, Type, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message as Wire

from phalanx import limits
from phalanx.v1 import admin_pb2 as admin
from phalanx.v1 import messages_pb2 as pb

Request = TypeVar("Request", bound=Wire)
Response = TypeVar("Response", bound=Wire)


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A call, and what travels."""

    path: str
    request: Type[Request]
    response: Type[Response]


SEND = Method("/phalanx.v1.Messages/Send", pb.SendRequest, pb.SendResponse)
SEND_STREAM = Method("/phalanx.v1.Messages/SendStream", pb.SendStreamRequest, pb.SendStreamResponse)
RECEIVE = Method("/phalanx.v1.Messages/Receive", pb.ReceiveRequest, pb.ReceiveResponse)
CONSUME = Method("/phalanx.v1.Messages/Consume", pb.ConsumeRequest, pb.ConsumeResponse)
SETTLE = Method("/phalanx.v1.Messages/Settle", pb.SettleRequest, pb.SettleResponse)
CREATE_QUEUE = Method("/phalanx.v1.Queues/CreateQueue", admin.CreateQueueRequest, admin.Queue)
UPDATE_QUEUE = Method("/phalanx.v1.Queues/UpdateQueue", admin.UpdateQueueRequest, admin.Queue)
DELETE_QUEUE = Method("/phalanx.v1.Queues/DeleteQueue", admin.DeleteQueueRequest, admin.DeleteQueueResponse)
PURGE_QUEUE = Method("/phalanx.v1.Queues/PurgeQueue", admin.PurgeQueueRequest, admin.PurgeQueueResponse)
LOOKUP = Method("/phalanx.v1.Queues/Lookup", admin.LookupRequest, admin.LookupResponse)
GET_QUEUE = Method("/phalanx.v1.Queues/GetQueue", admin.GetQueueRequest, admin.QueueInfo)
LIST_QUEUES = Method("/phalanx.v1.Queues/ListQueues", admin.ListQueuesRequest, admin.ListQueuesResponse)
CREATE_TOPIC = Method("/phalanx.v1.Topics/CreateTopic", admin.CreateTopicRequest, admin.Topic)
UPDATE_TOPIC = Method("/phalanx.v1.Topics/UpdateTopic", admin.UpdateTopicRequest, admin.Topic)
DELETE_TOPIC = Method("/phalanx.v1.Topics/DeleteTopic", admin.DeleteTopicRequest, admin.DeleteTopicResponse)
GET_TOPIC = Method("/phalanx.v1.Topics/GetTopic", admin.GetTopicRequest, admin.TopicInfo)
LIST_TOPICS = Method("/phalanx.v1.Topics/ListTopics", admin.ListTopicsRequest, admin.ListTopicsResponse)
CREATE_SUBSCRIPTION = Method(
    "/phalanx.v1.Topics/CreateSubscription", admin.CreateSubscriptionRequest, admin.Subscription
)
UPDATE_SUBSCRIPTION = Method(
    "/phalanx.v1.Topics/UpdateSubscription", admin.UpdateSubscriptionRequest, admin.Subscription
)
DELETE_SUBSCRIPTION = Method(
    "/phalanx.v1.Topics/DeleteSubscription", admin.DeleteSubscriptionRequest, admin.DeleteSubscriptionResponse
)
LIST_SUBSCRIPTIONS = Method(
    "/phalanx.v1.Topics/ListSubscriptions", admin.ListSubscriptionsRequest, admin.ListSubscriptionsResponse
)
SEEK_SUBSCRIPTION = Method(
    "/phalanx.v1.Topics/SeekSubscription", admin.SeekSubscriptionRequest, admin.SeekSubscriptionResponse
)
MARK_SUBSCRIPTION = Method(
    "/phalanx.v1.Topics/MarkSubscription", admin.MarkSubscriptionRequest, admin.MarkSubscriptionResponse
)
READ_LOG = Method("/phalanx.v1.Topics/ReadLog", admin.ReadLogRequest, admin.ReadLogResponse)
CREATE_BINDING = Method("/phalanx.v1.Bindings/CreateBinding", admin.CreateBindingRequest, admin.Binding)
UPDATE_BINDING = Method("/phalanx.v1.Bindings/UpdateBinding", admin.UpdateBindingRequest, admin.Binding)
DELETE_BINDING = Method("/phalanx.v1.Bindings/DeleteBinding", admin.DeleteBindingRequest, admin.DeleteBindingResponse)
GET_BINDING = Method("/phalanx.v1.Bindings/GetBinding", admin.GetBindingRequest, admin.BindingInfo)
LIST_BINDINGS = Method("/phalanx.v1.Bindings/ListBindings", admin.ListBindingsRequest, admin.ListBindingsResponse)
STATUS = Method("/phalanx.v1.Cluster/Status", admin.StatusRequest, admin.StatusResponse)
TOPOLOGY = Method("/phalanx.v1.Cluster/Topology", admin.TopologyRequest, admin.TopologyResponse)


class NotConnected(Exception):
    """No connection came about: nothing was sent."""


@dataclass(frozen=True)
class Settings:
    """Time limits and the like, shared by all handles of a client. Seconds."""

    connect_timeout: float = limits.CONNECT_TIMEOUT_S
    keepalive_interval: float = limits.KEEPALIVE_INTERVAL_S
    keepalive_timeout: float = limits.KEEPALIVE_TIMEOUT_S
    request_deadline: float = limits.REQUEST_DEADLINE_S
    stall_timeout: float = limits.STALL_TIMEOUT_S
    go_to_leader: bool = True


def _options(settings: Settings) -> List[Tuple[str, int]]:
    milliseconds = {
        "grpc.keepalive_time_ms": settings.keepalive_interval,
        "grpc.keepalive_timeout_ms": settings.keepalive_timeout,
        "grpc.min_reconnect_backoff_ms": settings.connect_timeout,
        "grpc.initial_reconnect_backoff_ms": limits.RECONNECT_MIN_S,
        "grpc.max_reconnect_backoff_ms": limits.RECONNECT_MAX_S,
    }
    return [(name, max(1, round(seconds * 1000))) for name, seconds in milliseconds.items()] + [
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", limits.DECODE_BYTES_MAX),
        ("grpc.max_send_message_length", -1),
        # Connections of one client are its own: closing it closes them.
        ("grpc.use_local_subchannel_pool", 1),
        # Retries and routes are this client's business.
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]


class Target:
    """One node: where to send a call. Connects when it is used, and again after its connection broke."""

    def __init__(self, address: str, settings: Settings) -> None:
        self.address = address
        self._settings = settings
        self._made: Optional[grpc.aio.Channel] = None

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._made is None:
            self._made = grpc.aio.insecure_channel(self.address, options=_options(self._settings))
        return self._made

    async def ready(self) -> None:
        """Waits for the connection, so that a call which fails before it is known to have carried nothing.

        :raises NotConnected: when the node cannot be reached now.
        """
        until = time.monotonic() + self._settings.connect_timeout
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            left = until - time.monotonic()
            # After a failure gRPC goes on trying by itself: this node is asked again later.
            if left <= 0 or state in (
                grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                grpc.ChannelConnectivity.SHUTDOWN,
            ):
                raise NotConnected
            try:
                await asyncio.wait_for(self._channel.wait_for_state_change(state), left)
            except asyncio.TimeoutError:
                raise NotConnected from None
            state = self._channel.get_state(try_to_connect=True)

    async def unary(self, method: Method[Request, Response], request: Request, timeout: float) -> Response:
        """One call. Raises `AioRpcError` or `NotConnected`."""
        await asyncio.wait_for(self.ready(), timeout)
        call: Any = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        response: Response = await call(request, timeout=timeout)
        return response

    def stream(self, method: Method[Request, Response]) -> grpc.aio.StreamStreamCall[Request, Response]:
        """A call that streams both ways. `ready` comes first."""
        call: Any = self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        stream: grpc.aio.StreamStreamCall[Request, Response] = call()
        return stream

    async def close(self) -> None:
        """Ends the connection and whatever is under way on it."""
        if self._made is not None:
            await self._made.close()
