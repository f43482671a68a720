"""One stream of either kind: opened on the best node, read and written by tasks that end with it.

Cancelling a read or a write of a gRPC call cancels the call. So both are left alone until the stream is over.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, Callable, Generic, Optional, Union

import grpc
import grpc.aio

from phalanx import errors
from phalanx._core import rpc, status
from phalanx._core.backoff import Backoff
from phalanx._core.call import Core
from phalanx._core.router import QueueKey
from phalanx._core.rpc import Method, Request, Response, Target
from phalanx._core.status import Failure, Kind

#: A refusal comes right behind the headers of its answer; this long is waited for it, seconds. One that comes later is
#: heard all the same, by whatever is sent.
REFUSAL_GRACE_S = 0.02


class Wire(Generic[Request, Response]):
    """An open stream."""

    def __init__(self, target: Target, method: Method[Request, Response]) -> None:
        self.target = target
        self._call = target.stream(method)

    async def write(self, frame: Request) -> bool:
        """Hands a frame to the transport when it takes one; `False`: the stream is over, reading tells why."""
        try:
            await self._call.write(frame)
            return True
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            return False

    async def read(self) -> Union[Response, Failure, None]:
        """The next frame, how the stream failed, or `None`: the server ended it in order."""
        try:
            frame: Any = await self._call.read()
        except grpc.aio.AioRpcError as error:
            return status.from_rpc(error)
        return None if frame is grpc.aio.EOF else frame

    async def refusal(self) -> Optional[Failure]:
        """Waits for the head of the answer; how the call was refused, if it was."""
        try:
            await self._call.initial_metadata()
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self._call.code())), REFUSAL_GRACE_S)
        except asyncio.TimeoutError:
            return None
        except grpc.aio.AioRpcError as error:
            return status.from_rpc(error)
        frame = await self.read()
        return frame if isinstance(frame, Failure) else status.ended(self.target.address)

    def end(self) -> None:
        """Ends it, if it is not over."""
        self._call.cancel()


async def connect(
    core: Core,
    queue: QueueKey,
    method: Method[Request, Response],
    greet: Callable[[Wire[Request, Response]], Awaitable[Optional[Failure]]],
) -> Union[Wire[Request, Response], Failure]:
    """Opens a stream on the best node and greets it there; tells the router how that went."""
    target = await core.router.target(queue)
    limit = core.settings.stall_timeout
    wire: Optional[Wire[Request, Response]] = None
    try:
        await target.ready()
        wire = Wire(target, method)
        failure = await asyncio.wait_for(greet(wire), limit)
    except rpc.NotConnected:
        failure = status.not_connected(target.address)
    except asyncio.TimeoutError:
        failure = status.stalled(target.address, limit)
    except BaseException:
        if wire is not None:
            wire.end()
        raise
    if failure is None and wire is not None:
        core.router.worked(target)
        return wire
    if wire is not None:
        wire.end()
    assert failure is not None, "without a failure there is a stream"
    core.note(queue, target, failure)
    return failure


async def open_first(
    attempt: Callable[[], Awaitable[Union[Wire[Request, Response], Failure]]], deadline: float
) -> Wire[Request, Response]:
    """The first stream: tells whether the queue can be used at all."""
    end = time.monotonic() + deadline
    backoff = Backoff()
    last: errors.Error = errors.Unavailable("no node answered")
    while True:
        try:
            outcome = await asyncio.wait_for(attempt(), max(end - time.monotonic(), 0.001))
        except asyncio.TimeoutError:
            raise last from None
        if isinstance(outcome, Wire):
            return outcome
        if outcome.kind is Kind.REFUSED:
            raise outcome.error
        # Opening a stream does nothing that lasts: there is no outcome to be unknown.
        unknown = isinstance(outcome.error, errors.OutcomeUnknown)
        last = errors.Unavailable(outcome.error.message) if unknown else outcome.error
        pause = backoff.next(outcome.retry_after)
        if time.monotonic() + pause >= end:
            raise last
        await asyncio.sleep(pause)


async def first_of(*tasks: Awaitable[Any]) -> Any:
    """Runs all until the first returns something other than `None`; ends the others. That something."""
    running = {asyncio.ensure_future(task) for task in tasks}
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                result = task.result()
                if result is not None:
                    return result
        return None
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
