"""Settles on their way, without a server."""

import time
import unittest

from phalanx import errors
from phalanx._core.desk import ACK, Action, Desk
from phalanx._core.lease import Lease
from phalanx.v1 import messages_pb2 as pb

TOKEN = 7
OVER = pb.SettleOutcome(
    tokens=pb.TokenRange(first=TOKEN, last=TOKEN), result=pb.SETTLE_RESULT_LEASE_OVER
)


class Repetitions(unittest.IsolatedAsyncioTestCase):
    """A lease that is over says something of a settle that was written once, and little of one that was repeated."""

    def setUp(self) -> None:
        self.desk = Desk(30.0)
        self.lease = Lease(TOKEN, time.monotonic() + 30.0)

    async def test_the_first_answer_is_believed(self) -> None:
        settled = self.desk.ask(self.lease, ACK)
        self.desk.next_frame()
        self.desk.answer(OVER)
        with self.assertRaises(errors.LeaseOver):
            await settled

    async def test_after_a_broken_stream_the_outcome_is_unknown(self) -> None:
        settled = self.desk.ask(self.lease, ACK)
        self.desk.next_frame()
        self.desk.rewind()
        self.desk.next_frame()
        self.desk.answer(OVER)
        with self.assertRaises(errors.OutcomeUnknown):
            await settled

    async def test_after_a_repeated_call_the_outcome_is_unknown(self) -> None:
        settled = self.desk.ask(self.lease, ACK)
        self.desk.next_frame()
        self.desk.note_repetition()
        self.desk.all_answered()
        with self.assertRaises(errors.OutcomeUnknown):
            await settled

    async def test_an_extension_leaves_nothing_behind(self) -> None:
        extended = self.desk.ask(self.lease, Action(pb.SETTLE_ACTION_EXTEND))
        self.desk.next_frame()
        self.desk.note_repetition()
        self.desk.answer(OVER)
        with self.assertRaises(errors.LeaseOver):
            await extended


if __name__ == "__main__":
    unittest.main()
