"""The event loop of all blocking clients of this process: one thread, started when it is first needed.

One, because gRPC has one poller for all event loops of a process, and it is at its best with a single one.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from typing import Any, Callable, Coroutine, Optional, TypeVar

from phalanx import errors

Result = TypeVar("Result")

#: The thread is given this long to end with the process, seconds.
_JOIN_S = 5.0


class _Background:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name="phalanx", daemon=True)
                self._thread.start()
                atexit.register(self._stop)
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        # What a client left behind is ended in order: gRPC dislikes calls that outlive their loop.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_JOIN_S)

    def forget(self) -> None:
        """In a forked child: the parent's thread is not here."""
        self._lock = threading.Lock()
        self._loop = self._thread = None


_background = _Background()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_background.forget)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs it on the loop and waits. An interrupt (Ctrl-C) ends it."""
    loop = _background.loop()
    if threading.current_thread() is _background._thread:
        coroutine.close()
        raise RuntimeError("a blocking call from a callback of the client would wait for itself")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise errors.Closed("the client was closed") from None
    except BaseException:
        future.cancel()
        raise


def on_loop(function: Callable[[], Result]) -> Result:
    """Runs a function that does not wait on the loop."""

    async def call() -> Result:
        return function()

    return run(call())


def soon(function: Callable[[], None]) -> None:
    """Runs a function on the loop soon, after all that was asked before. It must not raise."""
    _background.loop().call_soon_threadsafe(function)


def ask(function: Callable[[], asyncio.Future[Result]]) -> concurrent.futures.Future[Result]:
    """Runs a function on the loop soon, after all that was asked before; the result of the future that it gives."""
    promise: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def start() -> None:
        try:
            bridge(function(), promise)
        except Exception as error:
            promise.set_exception(error)

    soon(start)
    return promise


def bridge(future: asyncio.Future[Result], promise: concurrent.futures.Future[Result]) -> None:
    """Hands the result on. Must be called on the loop."""

    def done(_: asyncio.Future[Result]) -> None:
        if not promise.set_running_or_notify_cancel():
            return  # whoever held it wants no answer
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            promise.set_result(future.result())
        else:
            promise.set_exception(error)

    future.add_done_callback(done)
