"""A scripted node on a free port of the loopback: each test says how it answers."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Awaitable, Callable, Coroutine, Dict, List, Tuple

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2

from phalanx._core import rpc, status_pb2
from phalanx.blocking import loop
from phalanx.v1 import admin_pb2, messages_pb2


def on_the_loop(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Makes a test of a coroutine. All run on the loop of the blocking clients: gRPC is at its best with a single one."""

    @functools.wraps(test)
    def run(case: Any) -> None:
        loop.run(test(case))

    return run


def _on_the_loop(make: Callable[[], Any]) -> Any:
    """Makes something there: the tests themselves run there, their `setUp` does not."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return loop.on_loop(make)
    return make()


Unary = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


async def refuse(context: grpc.aio.ServicerContext, code: grpc.StatusCode, reason: str, retry_ms: int = 0) -> None:
    """Ends the call as a Phalanx node does: with a reason, and with a time where waiting helps."""
    await refuse_as(context, code, reason, "phalanx", retry_ms)


async def refuse_as(
    context: grpc.aio.ServicerContext, code: grpc.StatusCode, reason: str, domain: str, retry_ms: int
) -> None:
    info = status_pb2.ErrorInfo(reason=reason, domain=domain)
    details = [any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())]
    if retry_ms:
        delay = duration_pb2.Duration(seconds=retry_ms // 1000, nanos=retry_ms % 1000 * 1_000_000)
        retry = status_pb2.RetryInfo(retry_delay=delay)
        details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString()))
    status = status_pb2.Status(code=code.value[0], message="because", details=details)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, "because", trailers)


class Node:
    """Serves what it is told to; it knows no leader, so that calls come to it."""

    def __init__(self) -> None:
        self.server = _on_the_loop(grpc.aio.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self._services: Dict[str, Dict[str, grpc.RpcMethodHandler]] = {}
        self.unary(rpc.TOPOLOGY, self._topology)

    async def _topology(self, _request: Any, _context: grpc.aio.ServicerContext) -> admin_pb2.TopologyResponse:
        return admin_pb2.TopologyResponse()

    def _add(self, method: rpc.Method[Any, Any], make: Any, behaviour: Any) -> None:
        _, service, name = method.path.split("/")
        handler = make(
            behaviour,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )
        self._services.setdefault(service, {})[name] = handler

    def unary(self, method: rpc.Method[Any, Any], behaviour: Unary) -> None:
        """Answers this call so."""
        self._add(method, grpc.unary_unary_rpc_method_handler, behaviour)

    def stream(self, method: rpc.Method[Any, Any], behaviour: Unary) -> None:
        """Serves this stream so: a coroutine of the context, which reads and writes."""
        self._add(method, grpc.stream_stream_rpc_method_handler, behaviour)

    async def __aenter__(self) -> Node:
        for service, handlers in self._services.items():
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(None)


def numbers(frame: messages_pb2.SendStreamRequest) -> List[Tuple[int, List[bytes]]]:
    """Number and bodies of each batch."""
    return [(batch.number, [message.body for message in batch.messages]) for batch in frame.batches]


def confirmed(*of: Tuple[int, int]) -> messages_pb2.SendStreamResponse:
    """Confirmations: number and sequence of each batch of one message."""
    sent = [
        messages_pb2.Confirmation(number=number, sent=messages_pb2.SendResponse(first_sequence=sequence, count=1))
        for number, sequence in of
    ]
    return messages_pb2.SendStreamResponse(confirmations=sent)
