"""One unary call with its retries.

Invariant: a call that may have been carried out is only repeated if the server recognises the repetition, and once an
attempt of a change may have been carried out, a later refusal no longer proves that nothing happened.
"""

from __future__ import annotations

import asyncio
import enum
import os
import time
from typing import Any, Callable, Coroutine, Optional, Sequence, Type, Union

import grpc
import grpc.aio

from phalanx import errors, limits
from phalanx._core import rpc, status
from phalanx._core.backoff import Backoff
from phalanx._core.router import QueueKey, Router
from phalanx._core.rpc import Method, Request, Response, Settings, Target
from phalanx._core.status import Failure, Kind


class Repeat(enum.Enum):
    """What a repetition does."""

    #: Changes nothing at all.
    READ = 1
    #: Is recognised by the server, or has the same effect as doing it once.
    SAME = 2
    #: Does it again.
    NEVER = 3


def random_id() -> bytes:
    """16 bytes that nobody else has: for request and consumer ids."""
    return os.urandom(16)


class Core:
    """What all handles of a client share."""

    def __init__(self, addresses: Sequence[str], settings: Settings) -> None:
        self.settings = settings
        self.router = Router(addresses, settings)
        self.closed = False

    async def call(
        self,
        method: Method[Request, Response],
        request: Union[Request, Callable[[], Request]],
        repeat: Repeat,
        queue: Optional[QueueKey] = None,
        *,
        only: Optional[Target] = None,
        deadline: Optional[float] = None,
        extra: float = 0.0,
        on_maybe: Optional[Callable[[], object]] = None,
        done: Optional[Type[errors.Error]] = None,
    ) -> Response:
        """Attempts the call until it succeeds, is refused, or its time (`deadline` seconds, and `extra`) is over.

        `request` may be a function that makes it anew for each attempt. `on_maybe` hears of each that may have been
        carried out and was not answered. `done` is a refusal that is certain whatever became of earlier attempts.
        """
        end = time.monotonic() + (self.settings.request_deadline if deadline is None else deadline) + extra
        # An attempt may take longer than a stream may stall: the node may be waiting for an election itself.
        attempt_max = self.settings.stall_timeout * 2 + extra
        backoff = Backoff()
        maybe = False
        while True:
            if self.closed:
                raise _over(repeat, maybe, errors.Closed("the client was closed"))
            target = only or await self._find(queue)
            timeout = min(end - time.monotonic(), attempt_max)
            attempt = self._attempt(target, method, request() if callable(request) else request, timeout)
            # A call that waits for messages is silent by right.
            if queue is not None and only is None and not extra and self.router.leads(queue, target):
                outcome = await self._unless_left(attempt, queue, target)
            else:
                outcome = await attempt
            if not isinstance(outcome, Failure):
                self.router.worked(target)
                return outcome
            self.note(queue, target, outcome)
            maybe = maybe or outcome.kind is Kind.MAYBE
            if outcome.kind is Kind.MAYBE and on_maybe is not None:
                on_maybe()
            again = outcome.kind is Kind.AGAIN or (outcome.kind is Kind.MAYBE and repeat is not Repeat.NEVER)
            pause = backoff.next(outcome.retry_after)
            if done is not None and isinstance(outcome.error, done):
                raise outcome.error
            if not again or time.monotonic() + pause >= end:
                raise _over(repeat, maybe, outcome.error)
            await asyncio.sleep(pause)

    async def _attempt(
        self, target: Target, method: Method[Request, Response], request: Request, timeout: float
    ) -> Union[Response, Failure]:
        try:
            return await target.unary(method, request, max(timeout, 0.001))
        except (rpc.NotConnected, asyncio.TimeoutError):
            return status.not_connected(target.address)
        except grpc.aio.AioRpcError as error:
            return status.from_rpc(error)
        except asyncio.CancelledError:
            # Closing the client cancels what is under way; its caller was not cancelled.
            if self.closed:
                return status.ended(target.address)
            raise

    async def _unless_left(
        self, attempt: Coroutine[Any, Any, Union[Response, Failure]], queue: QueueKey, target: Target
    ) -> Union[Response, Failure]:
        """The outcome of the attempt, or a failure when the node is silent and another one leads the queue."""
        running = asyncio.ensure_future(attempt)
        asking: Optional[asyncio.Future[bool]] = None
        try:
            while True:
                await asyncio.wait({running}, timeout=limits.DOUBT_AFTER_S)
                if not running.done():
                    asking = asyncio.ensure_future(self.router.has_moved(queue, target))
                    await asyncio.wait({running, asking}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    return running.result()
                if asking is not None and asking.result():
                    return status.left(target.address)
        finally:
            running.cancel()
            if asking is not None:
                asking.cancel()

    async def _find(self, queue: Optional[QueueKey]) -> Target:
        return self.router.any() if queue is None else await self.router.target(queue)

    def note(self, queue: Optional[QueueKey], target: Target, failure: Failure) -> None:
        """Lets the router learn from a failed attempt."""
        if failure.transport:
            self.router.failed(target)
        elif failure.kind is not Kind.REFUSED and not isinstance(failure.error, errors.Overloaded) and queue:
            self.router.moved(queue)

    async def close(self) -> None:
        """Ends all connections and what is under way on them."""
        self.closed = True
        await self.router.close()


def _over(repeat: Repeat, maybe: bool, error: errors.Error) -> errors.Error:
    if repeat is Repeat.READ:
        # A read has no outcome that could matter: it just got no answer.
        return errors.Unavailable(error.message) if isinstance(error, errors.OutcomeUnknown) else error
    return error.unknown() if maybe else error
