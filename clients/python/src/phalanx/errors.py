"""Errors: what happened, and what the caller may do about it.

One rule stands above the rest: what may have happened is never reported as failed. :class:`OutcomeUnknown` is a class
of its own.
"""

from __future__ import annotations

from typing import Optional


class Error(Exception):
    """What went wrong.

    The client has already retried, up to the deadline of the call, whatever can be retried without risk.
    """

    #: Whether doing the same again, later, can succeed.
    retryable: bool = False
    #: Machine-readable: as in docs/errors where a server said it.
    reason: str = ""
    #: How long the server asks to wait before trying again, seconds.
    retry_after: Optional[float]
    #: As the server put it, or why no answer came.
    message: str

    def __init__(self, message: str, *, reason: str = "", retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.reason else self.message

    def again(self) -> Error:
        """The same error for another caller, without this one's traceback."""
        return type(self)(self.message, reason=self.reason, retry_after=self.retry_after)

    def unknown(self) -> Error:
        """The same, with no claim about whether it happened."""
        return self.again() if isinstance(self, OutcomeUnknown) else OutcomeUnknown(str(self))


class OutcomeUnknown(Error):
    """It may have happened, or may still happen.

    Look before doing it again, or do it again with the same request id. Not `retryable`: doing it again may do it
    twice, which is for the caller to weigh.
    """

    reason = "OUTCOME_UNKNOWN"


class Unavailable(Error):
    """No node that could serve the call was reached in time. Nothing was done."""

    retryable = True
    reason = "UNAVAILABLE"


class NotLeader(Error):
    """The queue's leader is elsewhere or being elected. Nothing was done."""

    retryable = True
    reason = "NOT_LEADER"


class Overloaded(Error):
    """The server has too much to do. Nothing was done."""

    retryable = True
    reason = "OVERLOADED"


class QueueFull(Error):
    """The queue is at its limit of messages or bytes. Nothing was appended."""

    retryable = True
    reason = "QUEUE_FULL"


class DedupFull(Error):
    """The queue remembers as many deduplication or request ids as it may. Nothing was appended."""

    retryable = True
    reason = "DEDUP_FULL"


class BatchRefused(Error):
    """The message shared a batch with one that was refused. Nothing of the batch was appended: send it again."""

    retryable = True
    reason = "BATCH_REFUSED"


class TooManyConsumers(Error):
    """The queue has as many consumers as it may."""

    retryable = True
    reason = "TOO_MANY_CONSUMERS"


class Exclusive(Error):
    """The queue is exclusive, and another consumer has it."""

    retryable = True
    reason = "QUEUE_EXCLUSIVE"


class Invalid(Error):
    """A field, a message or a batch is malformed or over a limit. Nothing was done."""

    reason = "INVALID_ARGUMENT"


class QueueNotFound(Error):
    """There is no such queue."""

    reason = "QUEUE_NOT_FOUND"


class QueueGone(Error):
    """The queue was deleted meanwhile. A queue of the same name created since is another one."""

    reason = "QUEUE_GONE"


class AlreadyExists(Error):
    """The name is taken, by a queue with other settings or by one that is being deleted."""

    reason = "ALREADY_EXISTS"


class Unroutable(Error):
    """A mandatory message matches no subscription of its topic. Nothing of its batch was appended."""

    reason = "UNROUTABLE"


class VersionMismatch(Error):
    """The settings were changed by someone else meanwhile. Read them, and decide again."""

    reason = "VERSION_MISMATCH"


class Duplicate(Error):
    """The batch was handled before, so long ago that the result is no longer remembered. It was not appended again."""

    reason = "DUPLICATE"


class SequenceGap(Error):
    """The server lacks an earlier batch of this producer. Nothing was appended."""

    reason = "SEQUENCE_GAP"


class ProducerForgotten(Error):
    """The server no longer knows this producer, so it cannot tell whether unconfirmed sends were appended."""

    reason = "PRODUCER_FORGOTTEN"


class LeaseOver(Error):
    """The lease had ended before: the settle changed nothing, and the message is or was delivered again."""

    reason = "LEASE_OVER"


class ConsumerReplaced(Error):
    """A newer consumer with the same id took over."""

    reason = "CONSUMER_REPLACED"


class Denied(Error):
    """The caller may not do this, or did not say who it is."""

    reason = "PERMISSION_DENIED"


class Closed(Error):
    """The client, producer or consumer was closed, by its owner."""

    reason = "CLOSED"


class Other(Error):
    """An error this version of the client does not know. Whether anything was done is for `reason` to say."""

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Where the server says when to try again."""
        return self.retry_after is not None
