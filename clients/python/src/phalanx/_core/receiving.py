"""Receiving by single calls, and settling by single calls: what waits meanwhile goes into the next."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import List, Optional

from phalanx import errors, limits
from phalanx._core import rpc
from phalanx._core.backoff import Backoff
from phalanx._core.bell import Bell
from phalanx._core.call import Core, Repeat, random_id
from phalanx._core.desk import Action, Desk
from phalanx._core.hand import Arrived
from phalanx._core.lease import Lease
from phalanx._core.router import QueueKey
from phalanx.v1 import messages_pb2 as pb

_log = logging.getLogger("phalanx")
#: After these no settle can succeed.
_FOR_GOOD = (errors.QueueGone, errors.QueueNotFound, errors.Denied, errors.Closed)
#: How often overdue settles are looked for, seconds.
_EXPIRE_PAUSE_S = limits.SETTLE_DEADLINE_S / 10


class Receiving:
    """One receiver. Its task lives while there is something to settle."""

    def __init__(self, core: Core, queue: QueueKey, lease_ms: int) -> None:
        self._core = core
        self._queue = queue
        self._lease_ms = lease_ms
        self.consumer_id = random_id()
        self._desk = Desk(limits.SETTLE_DEADLINE_S)
        self._progress = Bell()
        self._task: Optional[asyncio.Future[None]] = None

    async def receive(self, max_messages: int, wait: float) -> List[Arrived]:
        """Leases messages. A longer wait is made of several calls."""
        patience = time.monotonic() + self._core.settings.request_deadline
        while len(self._desk) > limits.SETTLES_WAITING_MAX:
            left = patience - time.monotonic()
            if left <= 0:
                raise errors.Unavailable(f"more than {limits.SETTLES_WAITING_MAX} settles are not answered")
            await self._progress.wait(left)
        until = time.monotonic() + wait
        while True:
            left = max(0.0, until - time.monotonic())
            arrived = await self._once(max_messages, min(left, limits.RECEIVE_WAIT_MAX_S))
            if arrived or left <= limits.RECEIVE_WAIT_MAX_S:
                return arrived

    async def _once(self, max_messages: int, wait: float) -> List[Arrived]:
        until = time.monotonic() + wait
        request = pb.ReceiveRequest(
            namespace=self._queue.namespace,
            queue=self._queue.name,
            consumer_id=self.consumer_id,
            request_id=random_id(),
            max_messages=min(max(max_messages, 1), limits.RECEIVE_MESSAGES_MAX),
            lease_ms=self._lease_ms,
        )

        def with_what_is_left() -> pb.ReceiveRequest:
            request.wait_ms = int(max(0.0, until - time.monotonic()) * 1000)
            return request

        def heard_nothing() -> None:
            request.repeated = True

        response = await self._core.call(
            rpc.RECEIVE, with_what_is_left, Repeat.SAME, self._queue, extra=wait, on_maybe=heard_nothing
        )
        now = time.monotonic()
        return [(d, Lease(d.token, now + d.lease_left_ms / 1000)) for d in response.deliveries]

    def ask(self, lease: Lease, action: Action, wanted: bool = True) -> asyncio.Future[None]:
        """Settles or extends."""
        promise = self._desk.ask(lease, action, wanted)
        if self._desk.has_unwritten and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._write())
        if action.kind == pb.SETTLE_ACTION_EXTEND:
            since, lasts = time.monotonic(), action.lease_ms / 1000 if action.lease_ms else lease.given_s
            promise.add_done_callback(lambda done: _extended(done, lease, since, lasts))
        return promise

    async def _write(self) -> None:
        expiring = asyncio.ensure_future(self._expire())
        try:
            await self._write_all()
        except Exception as error:
            _log.exception("the receiver of %s failed", self._queue.name)
            self._desk.close(errors.OutcomeUnknown(f"the client failed: {error!r}"))
        finally:
            expiring.cancel()
            self._progress.ring()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_PAUSE_S)
            self._desk.expire(time.monotonic())

    async def _write_all(self) -> None:
        backoff = Backoff()
        while self._desk.has_unwritten:
            request = pb.SettleRequest(
                namespace=self._queue.namespace,
                queue=self._queue.name,
                consumer_id=self.consumer_id,
                items=self._desk.next_frame(),
            )
            unsure: List[bool] = []
            try:
                response = await self._core.call(
                    rpc.SETTLE, request, Repeat.SAME, self._queue, on_maybe=lambda: unsure.append(True)
                )
            except _FOR_GOOD as error:
                self._desk.close(error)
                return
            except errors.Error as error:
                _log.debug("settle on %s failed: %s", self._queue.name, error)
                self._desk.rewind()
                await asyncio.sleep(backoff.next(error.retry_after))
                continue
            backoff.reset()
            if unsure:
                self._desk.note_repetition()
            for outcome in response.outcomes:
                self._desk.answer(outcome)
            self._desk.all_answered()
            self._progress.ring()

    async def close(self) -> None:
        """Waits until all settles are answered."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=limits.CLOSE_DEADLINE_S)
        await self.abort()

    async def abort(self) -> None:
        """Ends at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._desk.close(errors.Closed("the receiver was closed"))


def _extended(done: asyncio.Future[None], lease: Lease, since: float, lasts: float) -> None:
    if not done.cancelled() and done.exception() is None:
        lease.set_deadline(since + lasts)
