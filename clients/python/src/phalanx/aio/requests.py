"""Request and reply: a message, and the one that answers it."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Awaitable, Callable, Dict, Optional, Set, Union

from phalanx import errors, limits
from phalanx._core.call import random_id
from phalanx.admin_types import QueueSettings
from phalanx.aio.consumer import Consumer, Delivery
from phalanx.message import Message, MessageLike, as_message, reply_of, with_reply_to

if TYPE_CHECKING:
    from phalanx.aio.client import Client

_log = logging.getLogger("phalanx")

#: What serves a request: gives the reply, or raises.
Handler = Callable[[Delivery], Awaitable[MessageLike]]


class Requester:
    """Sends requests and waits for their replies. Made by ``client.requester``; close it, or use ``async with``.

    It has a queue of its own, which is deleted with it.
    """

    def __init__(self, client: Client, queue: str, consumer: Consumer) -> None:
        self._client = client
        self._queue = queue
        self._consumer = consumer
        self._waiting: Dict[str, asyncio.Future[Message]] = {}
        self._task = asyncio.ensure_future(self._take())

    @classmethod
    async def open(cls, client: Client) -> Requester:
        """Makes the reply queue."""
        identity = random_id()
        queue = f"~reply.{identity.hex()}"
        settings = QueueSettings(expires=limits.REPLY_QUEUE_EXPIRES_S, exclusive=True)
        await client.admin.create_queue(queue, settings)
        consumer = await client.consumer(
            queue, consumer_id=identity, name="replies", window=limits.REPLIES_WINDOW
        )
        return cls(client, queue, consumer)

    async def request(self, queue: str, message: MessageLike, *, deadline: float = 30.0) -> Message:
        """Sends a request and waits for its reply, for at most `deadline` seconds together.

        :raises OutcomeUnknown: no reply came in time; the request may be worked on, or have been.
        """
        asked = with_reply_to(message, self._queue, random_id().hex())
        if self._task.done():
            raise errors.Unavailable("the reply queue is gone")
        if len(self._waiting) >= limits.REQUESTS_MAX:
            raise errors.Unavailable(f"{limits.REQUESTS_MAX} requests wait for their replies, as many as may")
        if asked.correlation_id in self._waiting:
            raise errors.Invalid(f"another request with correlation id {asked.correlation_id!r} waits")
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[asked.correlation_id] = reply

        async def ask() -> Message:
            await self._client.send(queue, asked)
            return await reply

        try:
            return await asyncio.wait_for(ask(), deadline)
        except asyncio.TimeoutError:
            raise errors.OutcomeUnknown(f"no reply within {deadline:g} s") from None
        finally:
            self._waiting.pop(asked.correlation_id, None)

    async def close(self) -> None:
        """Takes no more replies, and deletes the reply queue."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._consumer.close()
            await self._client.admin.delete_queue(self._queue)
        except errors.Error as error:
            _log.debug("the reply queue %s expires: %s", self._queue, error)

    async def __aenter__(self) -> Requester:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_over(self) -> bool:
        """It takes no replies any more."""
        return self._task.done()

    async def _take(self) -> None:
        try:
            async for delivery in self._consumer:
                waiting = self._waiting.get(delivery.message.correlation_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(delivery.message)
                # If it is lost the reply comes again, and nobody waits for it.
                delivery.ack_nowait()
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(errors.OutcomeUnknown("no reply: the reply queue is gone"))


async def serve(client: Client, queue: str, handler: Handler, limit: int, nack_delay: float) -> None:
    """See :meth:`phalanx.aio.Client.serve`."""
    lanes: Dict[Union[bytes, str], asyncio.Task[None]] = {}
    tasks: Set[asyncio.Task[None]] = set()

    async def answer(delivery: Delivery, before: Optional[asyncio.Task[None]]) -> None:
        if before is not None:
            # Requests of one group are worked on one after the other.
            await asyncio.gather(before, return_exceptions=True)
        if delivery.is_lost:
            return
        try:
            reply = as_message(await handler(delivery))
            if delivery.message.reply_to:
                try:
                    await client.send(delivery.message.reply_to, reply_of(reply, delivery.message, delivery.sequence))
                except (errors.QueueNotFound, errors.QueueGone):
                    _log.debug("nobody waits for the reply to %s any more", delivery.sequence)
            await delivery.ack()
        except errors.LeaseOver as error:
            _log.info("request %s comes again: %s", delivery.sequence, error)
        except errors.Invalid:
            # No queue takes such a reply, however often it is made.
            _log.exception("request %s is rejected", delivery.sequence)
            delivery.reject_nowait()
        except Exception:
            _log.exception("request %s is returned", delivery.sequence)
            delivery.nack_nowait(nack_delay)

    def forget(group: Union[bytes, str], done: asyncio.Task[None]) -> None:
        if lanes.get(group) is done:
            del lanes[group]

    async with await client.consumer(queue, window=max(limit, 1)) as consumer:
        try:
            async for delivery in consumer:
                group = delivery.message.group
                task = asyncio.ensure_future(answer(delivery, lanes.get(group) if group else None))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                if group:
                    lanes[group] = task
                    task.add_done_callback(functools.partial(forget, group))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
