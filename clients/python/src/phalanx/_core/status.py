"""From gRPC statuses and in-stream failures to errors, in one place.

Invariant: only what the server says was not done counts as not done. A status that no Phalanx node made may mean
anything.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Type

import grpc
import grpc.aio

from google.protobuf.message import DecodeError

from phalanx import errors, limits
from phalanx._core import status_pb2
from phalanx.v1 import messages_pb2 as pb

#: `ErrorInfo.domain` of the statuses that Phalanx nodes make.
_DOMAIN = "phalanx"
_DETAILS_KEY = "grpc-status-details-bin"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class Kind(enum.Enum):
    """What a failed attempt means for the next one."""

    #: Nothing was done, and the same again is answered the same way.
    REFUSED = 1
    #: Nothing was done; the same again can succeed.
    AGAIN = 2
    #: It may have been done. Only a call that is recognised when it is repeated may be repeated.
    MAYBE = 3


#: What each reason of docs/errors means.
REASONS: Dict[str, Tuple[Kind, Type[errors.Error]]] = {
    "INVALID_ARGUMENT": (Kind.REFUSED, errors.Invalid),
    "INVALID": (Kind.REFUSED, errors.Invalid),
    "QUEUE_NOT_FOUND": (Kind.REFUSED, errors.QueueNotFound),
    "QUEUE_GONE": (Kind.REFUSED, errors.QueueGone),
    "QUEUE_FULL": (Kind.REFUSED, errors.QueueFull),
    "DEDUP_FULL": (Kind.REFUSED, errors.DedupFull),
    "ALREADY_EXISTS": (Kind.REFUSED, errors.AlreadyExists),
    "VERSION_MISMATCH": (Kind.REFUSED, errors.VersionMismatch),
    "UNROUTABLE": (Kind.REFUSED, errors.Unroutable),
    "DUPLICATE": (Kind.REFUSED, errors.Duplicate),
    "SEQUENCE_GAP": (Kind.REFUSED, errors.SequenceGap),
    "PRODUCER_FORGOTTEN": (Kind.REFUSED, errors.ProducerForgotten),
    "CONSUMER_REPLACED": (Kind.REFUSED, errors.ConsumerReplaced),
    "TOO_MANY_CONSUMERS": (Kind.REFUSED, errors.TooManyConsumers),
    "QUEUE_EXCLUSIVE": (Kind.REFUSED, errors.Exclusive),
    "PERMISSION_DENIED": (Kind.REFUSED, errors.Denied),
    "UNAUTHENTICATED": (Kind.REFUSED, errors.Denied),
    "UNSUPPORTED": (Kind.REFUSED, errors.Other),
    "OVERLOADED": (Kind.AGAIN, errors.Overloaded),
    "NOT_LEADER": (Kind.AGAIN, errors.NotLeader),
    "NO_LEADER": (Kind.AGAIN, errors.NotLeader),
    "PEER_UNREACHABLE": (Kind.AGAIN, errors.Unavailable),
    "UNAVAILABLE": (Kind.AGAIN, errors.Unavailable),
    "QUEUE_NOT_READY": (Kind.AGAIN, errors.Unavailable),
    "DEADLINE_EXCEEDED": (Kind.AGAIN, errors.Unavailable),
    "NOT_ATTACHED": (Kind.AGAIN, errors.Unavailable),
    "OUTCOME_UNKNOWN": (Kind.MAYBE, errors.OutcomeUnknown),
    "INTERNAL": (Kind.MAYBE, errors.OutcomeUnknown),
}

#: Errors that always say when to try again.
_TIMED = (errors.Overloaded, errors.QueueFull, errors.DedupFull)


@dataclass(frozen=True)
class Failure:
    """A failed attempt."""

    error: errors.Error
    kind: Kind
    #: The node or the way to it failed, not the request.
    transport: bool = False
    #: As asked by the server, seconds.
    retry_after: Optional[float] = None


def stalled(address: str, after: float) -> Failure:
    """The node did not answer in time."""
    return _lost(f"no answer from {address} for {after:g} s")


def left(address: str) -> Failure:
    """The node did not answer, and another one leads."""
    return _lost(f"no answer from {address}, which does not lead any more")


def ended(address: str) -> Failure:
    """The stream ended without a status."""
    return _lost(f"{address} ended the stream")


def broken_protocol(address: str, what: str) -> Failure:
    """The node broke the protocol."""
    return _lost(f"{address} broke the protocol: {what}")


def not_connected(address: str) -> Failure:
    """No connection came about, so that nothing was sent."""
    return Failure(errors.Unavailable(f"{address} cannot be reached"), Kind.AGAIN, transport=True)


def _lost(message: str) -> Failure:
    return Failure(errors.OutcomeUnknown(message), Kind.MAYBE, transport=True)


def from_stream(failure: pb.Failure) -> Failure:
    """A failed batch of a `SendStream`."""
    return _known(failure.reason, failure.message, failure.retry_delay_ms / 1000 or None)


def from_rpc(error: grpc.aio.AioRpcError) -> Failure:
    """The status of a call."""
    message = error.details() or error.code().name
    info, retry_after = _details(error)
    if info is not None and info.domain == _DOMAIN:
        return _known(info.reason, message, retry_after)
    return _foreign(error.code(), message, retry_after)


def _details(error: grpc.aio.AioRpcError) -> Tuple[Optional[status_pb2.ErrorInfo], Optional[float]]:
    info: Optional[status_pb2.ErrorInfo] = None
    retry_after: Optional[float] = None
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.type_url == _ERROR_INFO:
                    info = status_pb2.ErrorInfo.FromString(detail.value)
                elif detail.type_url == _RETRY_INFO:
                    delay = status_pb2.RetryInfo.FromString(detail.value).retry_delay
                    retry_after = delay.seconds + delay.nanos / 1e9
        except DecodeError:
            return None, None  # no Phalanx node wrote that
    return info, retry_after


def _known(reason: str, message: str, retry_after: Optional[float]) -> Failure:
    kind, made = REASONS.get(reason, (Kind.REFUSED, errors.Other))
    wait = retry_after
    if wait is None and issubclass(made, _TIMED):
        wait = limits.RETRY_AFTER_DEFAULT_S
    return Failure(made(message, reason=reason, retry_after=wait), kind, retry_after=retry_after)


def _foreign(code: grpc.StatusCode, message: str, retry_after: Optional[float]) -> Failure:
    """A status made by the transport, a proxy, or something that is no Phalanx node."""
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        return Failure(errors.Invalid(message), Kind.REFUSED, retry_after=retry_after)
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return Failure(errors.Denied(message, reason=code.name), Kind.REFUSED, retry_after=retry_after)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        wait = limits.RETRY_AFTER_DEFAULT_S if retry_after is None else retry_after
        return Failure(errors.Overloaded(message, retry_after=wait), Kind.AGAIN, retry_after=wait)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Failure(errors.Other(message, reason=code.name, retry_after=retry_after), Kind.REFUSED)
    return _lost(message)
