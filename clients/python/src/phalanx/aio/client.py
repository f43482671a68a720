"""The client: what needs no handle, and how the handles are made."""

from __future__ import annotations

import asyncio
import weakref
from types import TracebackType
from typing import Iterable, List, Optional, Type, Union

from phalanx import limits
from phalanx._core import rpc
from phalanx._core.call import Core, Repeat, random_id
from phalanx._core.consuming import ConsumerOptions, Consuming
from phalanx._core.producing import Producing
from phalanx._core.receiving import Receiving
from phalanx._core.router import QueueKey
from phalanx._core.rpc import Settings
from phalanx._core.window import WindowLimits
from phalanx.admin_types import millis
from phalanx.aio.admin import Admin
from phalanx.aio.consumer import Consumer
from phalanx.aio.producer import Producer
from phalanx.aio.receiver import Receiver
from phalanx.aio.requests import Handler, Requester, serve
from phalanx.message import Message, MessageLike, Sent, all_to_wire, sent_of
from phalanx.v1 import admin_pb2, messages_pb2


class Client:
    """A connection to a cluster, known by the addresses of some of its nodes (``host:port``).

    It finds the leader of each queue by itself, goes there directly or is forwarded, and gets through leader changes,
    lost connections and lost answers without losing or repeating what it was told to do. Making one does no I/O;
    :meth:`connect` or the first call does. Close it, or use ``async with``.

    :param addresses: any of the nodes will do, several survive more. Default: the three nodes of ``phalanx dev``.
    :param namespace: where the queues are looked for.
    :param request_deadline: one call, all its retries included, seconds.
    :param connect_timeout: setting up one connection may take this long, seconds.
    :param stall_timeout: a node that owes an answer for this long is left for another, seconds.
    :param go_to_leader: `False`: stay on the given addresses and be forwarded, as behind a load balancer.
    """

    def __init__(
        self,
        addresses: Iterable[str] = limits.DEFAULT_ADDRESSES,
        *,
        namespace: str = "default",
        request_deadline: float = limits.REQUEST_DEADLINE_S,
        connect_timeout: float = limits.CONNECT_TIMEOUT_S,
        stall_timeout: float = limits.STALL_TIMEOUT_S,
        go_to_leader: bool = True,
    ) -> None:
        if isinstance(addresses, str):
            addresses = [addresses]
        settings = Settings(
            request_deadline=request_deadline,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            go_to_leader=go_to_leader,
        )
        self._core = Core(list(addresses), settings)
        self._handles: weakref.WeakSet[Union[Producing, Consuming, Receiving]] = weakref.WeakSet()
        #: The namespace in which queues are looked for.
        self.namespace = namespace
        #: Queues, topics, and the cluster itself.
        self.admin = Admin(self._core, namespace)
        self._requester: Optional[Requester] = None
        self._requester_lock: Optional[asyncio.Lock] = None

    async def connect(self) -> Client:
        """Answers as soon as one of the nodes does.

        :raises Unavailable: when none did, within 10 s.
        """
        deadline = min(self._core.settings.request_deadline, limits.CONNECT_DEADLINE_S)
        await self._core.call(rpc.TOPOLOGY, admin_pb2.TopologyRequest(), Repeat.READ, deadline=deadline)
        return self

    async def close(self) -> None:
        """Ends all that is under way. Close producers and consumers before: what they hold is given up here."""
        if self._requester is not None:
            await self._requester.close()
        await asyncio.gather(*(handle.abort() for handle in list(self._handles)))
        await self._core.close()

    async def __aenter__(self) -> Client:
        return await self.connect()

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def send(
        self, queue: str, message: MessageLike, *, request_id: Optional[bytes] = None, mandatory: bool = False
    ) -> Sent:
        """Sends one message by one call. See :meth:`send_batch`."""
        return (await self.send_batch(queue, [message], request_id=request_id, mandatory=mandatory))[0]

    async def send_batch(
        self,
        queue: str,
        messages: Iterable[MessageLike],
        *,
        request_id: Optional[bytes] = None,
        mandatory: bool = False,
    ) -> List[Sent]:
        """Sends a batch by one call, to a queue or a topic: all of it, in order, or none. One answer for each message.

        Retried until the deadline under one request id: nothing is sent twice. For more than a few messages use a
        :meth:`producer`.

        :param request_id: 16 bytes: the same call again, even from another process, is the same send. Ids are
            remembered for two minutes at least. Default: random.
        :param mandatory: to a topic: refused as a whole unless each message matches a subscription.
        :raises Unroutable: a mandatory message matches none.
        :raises OutcomeUnknown: the batch may have been appended but no answer came; every other error means that it
            was not.
        """
        wire = all_to_wire(messages)
        request = messages_pb2.SendRequest(
            namespace=self.namespace, queue=queue, messages=wire, request_id=request_id or random_id(), mandatory=mandatory
        )
        response = await self._core.call(rpc.SEND, request, Repeat.SAME, self._key(queue))
        return list(sent_of(response, len(wire)))

    async def producer(
        self,
        queue: str,
        *,
        window: int = limits.PRODUCER_WINDOW_MESSAGES,
        window_bytes: int = limits.PRODUCER_WINDOW_BYTES,
        coalesce: int = limits.COALESCE_MESSAGES,
        send_deadline: float = limits.SEND_DEADLINE_S,
        open_deadline: float = limits.OPEN_DEADLINE_S,
        mandatory: bool = False,
    ) -> Producer:
        """Opens a producer: pipelined, idempotent sends with back-pressure.

        :param window: messages waiting and unconfirmed together; `enqueue` waits beyond that.
        :param window_bytes: payload bytes waiting and unconfirmed together; one message is always allowed.
        :param coalesce: messages that share a batch at most when they wait at the same moment (nothing waits for
            company). Those that share a batch are appended or refused together. 1: each is a batch of its own.
        :param send_deadline: from `enqueue` to the confirmation, seconds; after it the outcome is reported: unknown if
            the message may have been sent, `Unavailable` if it was not.
        :param open_deadline: opening may take this long, seconds.
        :param mandatory: to a topic: a batch is refused, with `Unroutable`, unless each of its messages matches a
            subscription.
        """
        coalesce = min(max(coalesce, 1), limits.BATCH_MESSAGES_MAX)
        bounds = WindowLimits(max(window, 1), max(window_bytes, 1), coalesce, send_deadline, mandatory)
        core = Producing(self._core, self._key(queue), bounds)
        self._handles.add(core)
        await core.open(open_deadline)
        return Producer(core)

    async def consumer(
        self,
        queue: str,
        *,
        window: int = limits.CONSUMER_WINDOW_MESSAGES,
        window_bytes: int = limits.CONSUMER_WINDOW_BYTES,
        lease: Optional[float] = None,
        name: str = "",
        consumer_id: Optional[bytes] = None,
        max_processing: Optional[float] = limits.MAX_PROCESSING_S,
        settle_deadline: float = limits.SETTLE_DEADLINE_S,
        open_deadline: float = limits.OPEN_DEADLINE_S,
    ) -> Consumer:
        """Attaches a consumer: a stream of deliveries.

        :param window: most deliveries in hand, those waiting in the client included; settling one makes room. With 1,
            messages are worked on strictly in the order of the queue.
        :param window_bytes: most payload bytes in hand; one delivery is always allowed.
        :param lease: of the deliveries, seconds, at most 12 h. Default: the queue's.
        :param name: for people, in listings.
        :param consumer_id: 16 bytes: a consumer that starts again with it takes over from its earlier self and gets the
            deliveries that one held. Two that run at once push each other out. Default: random.
        :param max_processing: leases are extended by themselves for this long, seconds, from the arrival of a delivery
            until it is taken, and from then again until it is settled or dropped. `None`: never.
        :param settle_deadline: from a settle to its answer, seconds; after it the outcome is reported as unknown.
        :param open_deadline: attaching may take this long, seconds.
        """
        options = ConsumerOptions(
            consumer_id, name, window, window_bytes, millis(lease), max_processing, settle_deadline
        )
        core = Consuming(self._core, self._key(queue), options)
        self._handles.add(core)
        await core.open(open_deadline)
        return Consumer(core)

    def receiver(self, queue: str, *, lease: Optional[float] = None) -> Receiver:
        """For receiving by single calls, without a stream. `lease` (seconds) instead of the queue's."""
        core = Receiving(self._core, self._key(queue), millis(lease))
        self._handles.add(core)
        return Receiver(core)

    async def requester(self) -> Requester:
        """For requests: has a reply queue of its own. :meth:`request` makes one by itself and keeps it."""
        return await Requester.open(self)

    async def request(self, queue: str, message: MessageLike, *, deadline: float = 30.0) -> Message:
        """Sends a request to a queue and waits for its reply, for at most `deadline` seconds.

        The first request of a client makes its reply queue; the others use it.

        :raises OutcomeUnknown: no reply came in time; the request may be worked on, or have been.
        """
        if self._requester_lock is None:
            # Not before: it belongs to the loop on which the client is used.
            self._requester_lock = asyncio.Lock()
        async with self._requester_lock:
            if self._requester is None or self._requester.is_over:
                self._requester = await self.requester()
        return await self._requester.request(queue, message, deadline=deadline)

    async def serve(
        self, queue: str, handler: Handler, *, limit: int = 1, nack_delay: float = limits.NACK_DELAY_S
    ) -> None:
        """Answers the requests of a queue with what `handler` gives, up to `limit` at a time, until it is cancelled.

        A request is acknowledged after its reply is on disk on a majority: whoever dies before loses none. It may be
        worked on twice; the requester takes the first reply. A handler that raises returns its request, to be offered
        again after `nack_delay` seconds. Any number of processes may serve the same queue.
        """
        await serve(self, queue, handler, limit, nack_delay)

    def _key(self, queue: str) -> QueueKey:
        return QueueKey(self.namespace, queue)
