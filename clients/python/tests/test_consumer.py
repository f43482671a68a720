"""The consumer: what it says when it attaches again, which settles it repeats, and which leases it takes for lost."""

from __future__ import annotations

import asyncio
import gc
import unittest
from typing import Any, List

import grpc

import fake
import phalanx
from phalanx import aio
from phalanx._core import rpc
from phalanx.v1 import messages_pb2 as pb


def delivery(token: int, lease_ms: int = 60_000) -> pb.Delivery:
    message = pb.Message(body=str(token).encode())
    return pb.Delivery(token=token, sequence=token, attempt=1, lease_left_ms=lease_ms, message=message)


def attached(lease_ms: int = 60_000, lost: List[int] = []) -> pb.ConsumerAttached:
    return pb.ConsumerAttached(lease_ms=lease_ms, lost=lost)


def ranges(of: Any) -> List[tuple[int, int]]:
    return [(one.first, one.last) for one in of]


ACKED = pb.SETTLE_RESULT_ACKED


class Consumers(unittest.TestCase):
    def setUp(self) -> None:
        self.attaches: List[pb.ConsumerAttach] = []
        self.node = fake.Node()
        self.node.stream(rpc.CONSUME, self.serve)

    async def serve(self, _requests: Any, context: Any) -> None:
        self.attaches.append((await context.read()).attach)
        await self.script(context, len(self.attaches))

    async def script(self, context: Any, stream: int) -> None:
        raise NotImplementedError

    async def drain(self, context: Any) -> None:
        """Acknowledges everything until the goodbye."""
        while True:
            frame = await context.read()
            if frame is grpc.aio.EOF or frame.close:
                return
            outcomes = [pb.SettleOutcome(tokens=t, result=ACKED) for item in frame.settle for t in item.tokens]
            if outcomes:
                await context.write(pb.ConsumeResponse(settled=outcomes))

    @fake.on_the_loop
    async def test_it_attaches_again_with_what_it_holds_and_repeats_unanswered_settles(self) -> None:
        settled: List[Any] = []

        async def script(context: Any, stream: int) -> None:
            if stream == 1:
                await context.write(pb.ConsumeResponse(attached=attached(), deliveries=[delivery(t) for t in (1, 2, 4)]))
                settled.append((await context.read()).settle)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
            await context.write(pb.ConsumeResponse(attached=attached(lost=[2]), deliveries=[delivery(4), delivery(5)]))
            settled.append((await context.read()).settle)
            outcome = pb.SettleOutcome(tokens=pb.TokenRange(first=1, last=1), result=ACKED)
            await context.write(pb.ConsumeResponse(settled=[outcome]))
            await self.drain(context)

        self.script = script  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            async with await client.consumer("q", name="ann", window=8) as consumer:
                taken = [await consumer.next() for _ in range(3)]
                one, two, four = [d for d in taken if d is not None]
                await one.ack()
                self.assertEqual(await two.lost(), phalanx.ReturnReason.CONSUMER_LOST)
                self.assertFalse(four.is_lost)
                five = await consumer.next()
                assert five is not None
                self.assertEqual(five.token, 5, "what is in hand is not given twice")
        first, second = self.attaches
        self.assertEqual(first.consumer_id, second.consumer_id)
        self.assertLess(first.incarnation, second.incarnation)
        self.assertEqual((first.name, first.window.messages), ("ann", 8))
        self.assertEqual(ranges(second.held), [(1, 2), (4, 4)])
        for items in settled:
            self.assertEqual([(item.action, ranges(item.tokens)) for item in items], [(pb.SETTLE_ACTION_ACK, [(1, 1)])])

    @fake.on_the_loop
    async def test_leases_are_extended_while_a_delivery_is_held_and_not_when_it_is_dropped(self) -> None:
        extended: List[int] = []

        async def script(context: Any, stream: int) -> None:
            frame = pb.ConsumeResponse(attached=attached(300), deliveries=[delivery(1, 300), delivery(2, 300)])
            await context.write(frame)
            while True:
                asked = await context.read()
                if asked is grpc.aio.EOF or asked.close:
                    return
                for item in asked.settle:
                    for tokens in item.tokens:
                        extended.extend(range(tokens.first, tokens.last + 1))
                        outcome = pb.SettleOutcome(tokens=tokens, result=pb.SETTLE_RESULT_EXTENDED)
                        await context.write(pb.ConsumeResponse(settled=[outcome]))

        self.script = script  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            async with await client.consumer("q") as consumer:
                held, dropped = await consumer.next(), await consumer.next()
                assert held is not None and dropped is not None
                del dropped
                gc.collect()
                while extended.count(1) < 3:
                    await asyncio.sleep(0.05)
                self.assertFalse(held.is_lost)
        self.assertNotIn(2, extended)

    @fake.on_the_loop
    async def test_a_settle_after_the_lease_says_so(self) -> None:
        async def script(context: Any, stream: int) -> None:
            await context.write(pb.ConsumeResponse(attached=attached(), deliveries=[delivery(1), delivery(2)]))
            await context.read()
            over = pb.SettleOutcome(tokens=pb.TokenRange(first=1, last=1), result=pb.SETTLE_RESULT_LEASE_OVER)
            ended = pb.LeaseEnded(token=2, reason=pb.RETURN_REASON_GROUP_RETURNED)
            await context.write(pb.ConsumeResponse(settled=[over], ended=[ended]))
            await self.drain(context)

        self.script = script  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            async with await client.consumer("q") as consumer:
                one, two = await consumer.next(), await consumer.next()
                assert one is not None and two is not None
                with self.assertRaises(phalanx.LeaseOver):
                    await one.ack()
                self.assertEqual(await two.lost(), phalanx.ReturnReason.GROUP_RETURNED)

    @fake.on_the_loop
    async def test_a_refusal_for_good_ends_the_iteration_with_its_reason(self) -> None:
        async def script(context: Any, stream: int) -> None:
            await context.write(pb.ConsumeResponse(attached=attached(), deliveries=[delivery(1)]))
            await fake.refuse(context, grpc.StatusCode.ABORTED, "CONSUMER_REPLACED")

        self.script = script  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            consumer = await client.consumer("q")
            with self.assertRaises(phalanx.ConsumerReplaced):
                async for one in consumer:
                    self.assertEqual(one.token, 1)
            self.assertTrue(one.is_lost)
            self.assertIsNone(await consumer.next())
        self.assertEqual(len(self.attaches), 1)


if __name__ == "__main__":
    unittest.main()
