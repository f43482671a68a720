"""The client, and administration."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Callable, Iterable, List, Optional, Tuple, Type

from phalanx import aio, errors, limits
from phalanx.admin_types import ClusterStatus, Queue, QueueInfo, QueueSettings, Topology
from phalanx.blocking import loop
from phalanx.blocking.consumer import Consumer, Delivery, Receiver
from phalanx.blocking.producer import Producer
from phalanx.blocking.bindings import BindingAdmin
from phalanx.blocking.topics import TopicAdmin
from phalanx.message import Message, MessageLike, Sent, as_message, reply_of

_log = logging.getLogger("phalanx")


class Client:
    """A connection to a cluster, known by the addresses of some of its nodes (``host:port``).

    As :class:`phalanx.aio.Client`, whose parameters it has, for programs with threads: its calls wait, and any thread
    may make them. Making one does no I/O; :meth:`connect` or the first call does. Close it, or use ``with``. Not to be
    carried over a fork.
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
        self._aio = aio.Client(
            addresses,
            namespace=namespace,
            request_deadline=request_deadline,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
            go_to_leader=go_to_leader,
        )
        #: The namespace in which queues are looked for.
        self.namespace = namespace
        #: Queues, and the cluster itself.
        self.admin = Admin(self._aio.admin)

    def connect(self) -> Client:
        """Answers as soon as one of the nodes does.

        :raises Unavailable: when none did, within 10 s.
        """
        loop.run(self._aio.connect())
        return self

    def close(self) -> None:
        """Ends all that is under way. Close producers and consumers before: what they hold is given up here."""
        loop.run(self._aio.close())

    def __enter__(self) -> Client:
        return self.connect()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def send(
        self, queue: str, message: MessageLike, *, request_id: Optional[bytes] = None, mandatory: bool = False
    ) -> Sent:
        """Sends one message by one call. See :meth:`send_batch`."""
        return loop.run(self._aio.send(queue, message, request_id=request_id, mandatory=mandatory))

    def send_batch(
        self,
        queue: str,
        messages: Iterable[MessageLike],
        *,
        request_id: Optional[bytes] = None,
        mandatory: bool = False,
    ) -> List[Sent]:
        """Sends a batch by one call: all of it, in order, or none. One answer for each message.

        Retried until the deadline under one request id: nothing is sent twice. For more than a few messages use a
        :meth:`producer`. See :meth:`phalanx.aio.Client.send_batch`.
        """
        return loop.run(self._aio.send_batch(queue, messages, request_id=request_id, mandatory=mandatory))

    def producer(
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
        """Opens a producer: pipelined, idempotent sends with back-pressure. See :meth:`phalanx.aio.Client.producer`."""
        opening = self._aio.producer(
            queue,
            window=window,
            window_bytes=window_bytes,
            coalesce=coalesce,
            send_deadline=send_deadline,
            open_deadline=open_deadline,
            mandatory=mandatory,
        )
        return Producer(loop.run(opening)._core)

    def consumer(
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
        """Attaches a consumer: a stream of deliveries. See :meth:`phalanx.aio.Client.consumer`."""
        opening = self._aio.consumer(
            queue,
            window=window,
            window_bytes=window_bytes,
            lease=lease,
            name=name,
            consumer_id=consumer_id,
            max_processing=max_processing,
            settle_deadline=settle_deadline,
            open_deadline=open_deadline,
        )
        return Consumer(loop.run(opening)._core)

    def request(self, queue: str, message: MessageLike, *, deadline: float = 30.0) -> Message:
        """Sends a request to a queue and waits for its reply. See :meth:`phalanx.aio.Client.request`."""
        return loop.run(self._aio.request(queue, message, deadline=deadline))

    def serve(
        self,
        queue: str,
        handler: Callable[[Delivery], MessageLike],
        *,
        count: Optional[int] = None,
        nack_delay: float = limits.NACK_DELAY_S,
    ) -> None:
        """Answers the requests of a queue with what `handler` gives, one at a time, in this thread; after `count` it
        returns. See :meth:`phalanx.aio.Client.serve`."""
        with self.consumer(queue, window=1) as consumer:
            for delivery in consumer:
                try:
                    reply = as_message(handler(delivery))
                except Exception:
                    _log.exception("request %s is returned", delivery.sequence)
                    delivery.nack_nowait(nack_delay)
                    continue
                self._reply(delivery, reply)
                if count is not None:
                    count -= 1
                    if count <= 0:
                        return

    def _reply(self, delivery: Delivery, reply: Message) -> None:
        asked = delivery.message
        try:
            if asked.reply_to:
                self.send(asked.reply_to, reply_of(reply, asked, delivery.sequence))
        except (errors.QueueNotFound, errors.QueueGone):
            _log.debug("nobody waits for the reply to %s any more", delivery.sequence)
        except errors.Invalid:
            # No queue takes such a reply, however often it is made.
            _log.exception("request %s is rejected", delivery.sequence)
            delivery.reject_nowait()
            return
        try:
            delivery.ack()
        except errors.LeaseOver as error:
            _log.info("request %s comes again: %s", delivery.sequence, error)

    def receiver(self, queue: str, *, lease: Optional[float] = None) -> Receiver:
        """For receiving by single calls, without a stream. `lease` (seconds) instead of the queue's."""
        return Receiver(loop.on_loop(lambda: self._aio.receiver(queue, lease=lease))._core)


class Admin(TopicAdmin, BindingAdmin):
    """Queues of one namespace, and the cluster. Made by ``client.admin``. As :class:`phalanx.aio.Admin`."""

    def __init__(self, admin: aio.Admin) -> None:
        self._aio = admin

    def create_queue(self, name: str, settings: Optional[QueueSettings] = None) -> Queue:
        """Creates a queue, or answers with the one of that name if its settings are the same."""
        return loop.run(self._aio.create_queue(name, settings))

    def update_queue(self, name: str, settings: QueueSettings, *, if_version: Optional[int] = None) -> Queue:
        """Replaces all settings of a queue; with `if_version` only if it has that version."""
        return loop.run(self._aio.update_queue(name, settings, if_version=if_version))

    def delete_queue(self, name: str) -> None:
        """Deletes a queue with its messages; answers when the name is free again."""
        loop.run(self._aio.delete_queue(name))

    def purge_queue(self, name: str) -> int:
        """Removes all messages of a queue, those in consumers' hands included; answers how many."""
        return loop.run(self._aio.purge_queue(name))

    def queue_info(self, name: str) -> QueueInfo:
        """Settings, depth and consumers of a queue. Linearizable."""
        return loop.run(self._aio.queue_info(name))

    def list_queues_page(self, page_size: int = 100, page_token: str = "") -> Tuple[List[Queue], str]:
        """A page of the queues, in the order of their names, and the token of the next (empty: that was the last)."""
        return loop.run(self._aio.list_queues_page(page_size, page_token))

    def list_queues(self) -> List[Queue]:
        """All queues of the namespace, in the order of their names."""
        return loop.run(self._aio.list_queues())

    def status(self, address: Optional[str] = None) -> ClusterStatus:
        """Nodes, groups and their leaders, as one node sees them: the one at `address`, or whichever answers."""
        return loop.run(self._aio.status(address))

    def topology(self, queue: str) -> Topology:
        """Which node leads the shard of a queue, and where the nodes are."""
        return loop.run(self._aio.topology(queue))
