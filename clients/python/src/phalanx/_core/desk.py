"""Settles on their way: waiting to be written, and written but not answered.

Invariants: settles are written in the order in which they were asked for, and answered in that order. What was written
to a stream that broke is written again, before anything else: settling twice is answered the same way twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import Deque, Dict, List, Optional

from phalanx import errors, limits
from phalanx._core.lease import Lease
from phalanx.v1 import messages_pb2 as pb

#: Streams on which a settle may stay unanswered before it is given up.
_WRITES_MAX = 10
#: Tokens of one answer that are looked at: no consumer holds more.
_OUTCOME_TOKENS_MAX = limits.CONSUMER_WINDOW_MESSAGES_MAX
_ANSWERS = {
    pb.SETTLE_ACTION_ACK: pb.SETTLE_RESULT_ACKED,
    pb.SETTLE_ACTION_NACK: pb.SETTLE_RESULT_NACKED,
    pb.SETTLE_ACTION_REJECT: pb.SETTLE_RESULT_REJECTED,
    pb.SETTLE_ACTION_EXTEND: pb.SETTLE_RESULT_EXTENDED,
}


@dataclass(frozen=True)
class Action:
    """What to do with a delivery."""

    kind: pb.SettleAction
    #: Nack only, ms.
    delay_ms: int = 0
    #: Extend only, ms; 0: as long as the lease was given for.
    lease_ms: int = 0


ACK = Action(pb.SETTLE_ACTION_ACK)
REJECT = Action(pb.SETTLE_ACTION_REJECT)


@dataclass(frozen=True)
class Answer:
    """What an answer says about a delivery: it is settled, or its lease is over, or it was extended."""

    token: int
    lost: bool = False
    #: Extended: when that was written. The lease lasts `lease_ms` from then; 0: as long as it was given for.
    extended_from: Optional[float] = None
    lease_ms: int = 0


def _retrieved(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()  # whoever dropped it does not want to know


@dataclass
class _Op:
    lease: Lease
    action: Action
    deadline: float
    promises: List[asyncio.Future[None]] = field(default_factory=list)
    written_at: float = 0.0
    writes: int = 0

    def resolve(self, error: Optional[errors.Error]) -> None:
        for promise in self.promises:
            if promise.done():
                continue
            if error is None:
                promise.set_result(None)
            else:
                promise.set_exception(error.again())
        self.promises = []

    def answered(self, result: int) -> Answer:
        if result != _ANSWERS[self.action.kind]:
            return self.passed_over()  # another settle of the same delivery came first
        self.resolve(None)
        if self.action.kind == pb.SETTLE_ACTION_EXTEND:
            return Answer(self.lease.token, extended_from=self.written_at, lease_ms=self.action.lease_ms)
        return Answer(self.lease.token)

    def passed_over(self) -> Answer:
        """The server knows the lease no more. Of a repetition that says little: the first attempt may have ended the lease,
        and servers remember settles only as long as they remember the consumer."""
        message = f"the lease of delivery {self.lease.token} was over"
        if self.writes > 1 and self.action.kind != pb.SETTLE_ACTION_EXTEND:
            self.resolve(errors.OutcomeUnknown(f"{message}; the settle may have been carried out before"))
        else:
            self.resolve(errors.LeaseOver(message))
        return Answer(self.lease.token, lost=True)


class Desk:
    """The settles of one consumer."""

    def __init__(self, settle_deadline: float) -> None:
        self._deadline = settle_deadline
        self._pending: Deque[_Op] = deque()
        #: By token: a later extension replaces an earlier one that is not written yet.
        self._extends: Dict[int, _Op] = {}
        self._written: Deque[_Op] = deque()
        self._closed: Optional[errors.Error] = None

    def ask(self, lease: Lease, action: Action, wanted: bool = True) -> asyncio.Future[None]:
        """Asks for a settle or an extension; how it went. Not `wanted`: nobody waits for that."""
        promise: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        promise.add_done_callback(_retrieved)
        op = _Op(lease, action, time.monotonic() + self._deadline, [promise] if wanted else [])
        if self._closed is not None:
            op.resolve(self._closed)
        elif action.kind != pb.SETTLE_ACTION_EXTEND:
            lease.settling = True
            self._pending.append(op)
        else:
            earlier = self._extends.pop(lease.token, None)
            if earlier is not None:
                op.promises = earlier.promises + op.promises
            self._extends[lease.token] = op
        return promise

    def __len__(self) -> int:
        """Settles that are not answered."""
        return len(self._pending) + len(self._extends) + len(self._written)

    @property
    def has_unwritten(self) -> bool:
        """Whether there is something to write."""
        return bool(self._pending or self._extends)

    @property
    def owed(self) -> bool:
        """Whether something was written and not answered."""
        return bool(self._written)

    def next_frame(self) -> List[pb.SettleItem]:
        """As much as waits, neighbours as ranges."""
        now = time.monotonic()
        items: List[pb.SettleItem] = []
        last: Optional[Action] = None
        for _ in range(limits.SETTLES_PER_FRAME):
            # What was written before comes first; an extension is more urgent than a settle.
            if self._pending and (self._pending[0].writes > 0 or not self._extends):
                op = self._pending.popleft()
            elif self._extends:
                op = self._extends.pop(min(self._extends))
            else:
                break
            op.written_at = now
            op.writes += 1
            last = _add(items, last, op)
            self._written.append(op)
        return items

    def rewind(self) -> List[Answer]:
        """The stream broke: what it did not answer is written again. Answers of those given up."""
        answers: List[Answer] = []
        while self._written:
            op = self._written.pop()
            if op.writes < _WRITES_MAX:
                self._pending.appendleft(op)
            else:
                op.resolve(errors.OutcomeUnknown("the server passed the settle over"))
                answers.append(Answer(op.lease.token, lost=True))
        return answers

    def note_repetition(self) -> None:
        """What is written may have been carried out before the answer that comes next."""
        for op in self._written:
            op.writes = max(op.writes, 2)

    def answer(self, outcome: pb.SettleOutcome) -> List[Answer]:
        """Books an answer: for each of its tokens, that of the first settle that names it. The server answers in order
        and passes over what it does not know, so settles before that one are over too."""
        answers: List[Answer] = []
        last = min(outcome.tokens.last, outcome.tokens.first + _OUTCOME_TOKENS_MAX - 1)
        for token in range(outcome.tokens.first, last + 1):
            if not any(op.lease.token == token for op in self._written):
                continue
            op = self._written.popleft()
            while op.lease.token != token:
                answers.append(op.passed_over())
                op = self._written.popleft()
            answers.append(op.answered(outcome.result))
        return answers

    def lease_ended(self, token: int) -> None:
        """The server ended the lease: no settle of it was or will be carried out."""
        for name in ("_written", "_pending"):
            ops: Deque[_Op] = getattr(self, name)
            over = [op for op in ops if op.lease.token == token]
            if over:
                setattr(self, name, deque(op for op in ops if op.lease.token != token))
            for op in over:
                op.passed_over()
        extend = self._extends.pop(token, None)
        if extend is not None:
            extend.passed_over()

    def all_answered(self) -> List[Answer]:
        """The server has answered all that was written: what is left, it did not know."""
        left, self._written = self._written, deque()
        return [op.passed_over() for op in left]

    def expire(self, now: float) -> None:
        """Reports overdue settles as unknown; they are repeated all the same."""
        for op in chain(self._written, self._pending, self._extends.values()):
            if op.deadline <= now:
                op.resolve(errors.OutcomeUnknown("no answer to the settle before the deadline"))

    def close(self, error: errors.Error) -> None:
        """Nothing can be settled any more. What may have been carried out is unknown."""
        if self._closed is None:
            self._closed = error
        for op in chain(self._written, self._pending, self._extends.values()):
            op.resolve(error.unknown() if op.writes > 0 else error)
        self._written.clear()
        self._pending.clear()
        self._extends.clear()


def _add(items: List[pb.SettleItem], last: Optional[Action], op: _Op) -> Action:
    """Adds `op` to the frame: to the range before, if it is that one's neighbour."""
    token = op.lease.token
    if not items or last != op.action:
        item = pb.SettleItem(action=op.action.kind, delay_ms=op.action.delay_ms, lease_ms=op.action.lease_ms)
        items.append(item)
    tokens = items[-1].tokens
    # A token in a wider range is passed over when the server knows it no more, which is told by the lease's end. Of a
    # repetition there may be no such news: each gets a range and so an answer of its own.
    if tokens and op.writes == 1 and tokens[-1].last + 1 == token:
        tokens[-1].last = token
    else:
        tokens.append(pb.TokenRange(first=token, last=token))
    return op.action


