"""The producer: numbers, order, repetition, and what is said of what was not confirmed."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any, List, Tuple

import grpc

import fake
import phalanx
from phalanx import aio
from phalanx._core import rpc, status, verdict
from phalanx._core.window import Window, WindowLimits
from phalanx.message import to_wire
from phalanx.v1 import messages_pb2 as pb


def refusal(reason: str, number: int, consumed: bool) -> pb.SendStreamResponse:
    failure = pb.Failure(reason=reason, message="because", consumed=consumed)
    return pb.SendStreamResponse(confirmations=[pb.Confirmation(number=number, failure=failure)])


class Streams(unittest.TestCase):
    def setUp(self) -> None:
        self.streams: List[Tuple[bytes, List[Tuple[int, List[bytes]]]]] = []
        self.node = fake.Node()
        self.node.stream(rpc.SEND_STREAM, self.serve)

    async def serve(self, _requests: Any, context: Any) -> None:
        await context.send_initial_metadata(())
        opened = (await context.read()).open
        frames: List[Tuple[int, List[bytes]]] = []
        self.streams.append((opened.producer_id, frames))
        while True:
            frame = await context.read()
            if frame is grpc.aio.EOF:
                return
            for number, bodies in fake.numbers(frame):
                frames.append((number, bodies))
                if await self.answer(context, len(self.streams), number):
                    return

    async def answer(self, context: Any, stream: int, number: int) -> bool:
        """Confirms; whether the stream shall end then."""
        await context.write(fake.confirmed((number, 100 + number)))
        return False

    @fake.on_the_loop
    async def test_what_was_not_confirmed_is_repeated_in_order_under_the_same_numbers(self) -> None:
        async def answer(context: Any, stream: int, number: int) -> bool:
            if stream == 1 and number > 1:
                if number == 3:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
                return False  # taken or not: nobody knows
            await context.write(fake.confirmed((number, 100 + number)))
            return False

        self.answer = answer  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            async with await client.producer("q", coalesce=1) as producer:
                futures = [await producer.enqueue(str(number)) for number in range(1, 5)]
                sent = await asyncio.gather(*futures)
        self.assertEqual([one.sequence for one in sent], [101, 102, 103, 104])
        (first_id, first), (second_id, second) = self.streams
        self.assertEqual(first_id, second_id)
        self.assertEqual(first[:3], [(1, [b"1"]), (2, [b"2"]), (3, [b"3"])])
        self.assertEqual(second, [(2, [b"2"]), (3, [b"3"]), (4, [b"4"])])

    @fake.on_the_loop
    async def test_a_refusal_that_used_up_its_number_concerns_one_batch_only(self) -> None:
        async def answer(context: Any, stream: int, number: int) -> bool:
            await context.write(refusal("QUEUE_FULL", 2, True) if number == 2 else fake.confirmed((number, number)))
            return False

        self.answer = answer  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            producer = await client.producer("q", coalesce=1)
            futures = [await producer.enqueue(str(number)) for number in range(1, 4)]
            with self.assertRaises(phalanx.QueueFull):
                await producer.flush()
            self.assertEqual([futures[0].result().sequence, futures[2].result().sequence], [1, 3])
            self.assertIsInstance(futures[1].exception(), phalanx.QueueFull)
            await producer.close()
            with self.assertRaises(phalanx.Closed):
                await producer.enqueue("late")
        self.assertEqual(len(self.streams), 1)

    @fake.on_the_loop
    async def test_a_number_that_was_not_used_up_is_taken_by_the_next_batch(self) -> None:
        async def answer(context: Any, stream: int, number: int) -> bool:
            if stream == 1:
                await context.write(refusal("INVALID_ARGUMENT", 1, False))
                return True
            await context.write(fake.confirmed((number, number)))
            return False

        self.answer = answer  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            producer = await client.producer("q", coalesce=1)
            bad, good = await producer.enqueue("bad"), await producer.enqueue("good")
            self.assertEqual((await good).sequence, 1)
            self.assertIsInstance(bad.exception(), phalanx.Invalid)
            with self.assertRaises(phalanx.Invalid):
                await producer.close()
        self.assertEqual(self.streams[1][1], [(1, [b"good"])])

    @fake.on_the_loop
    async def test_a_forgotten_producer_starts_anew_and_says_what_it_does_not_know(self) -> None:
        async def answer(context: Any, stream: int, number: int) -> bool:
            if stream == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
            if stream == 2:
                await fake.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "PRODUCER_FORGOTTEN")
            await context.write(fake.confirmed((number, number)))
            return False

        self.answer = answer  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            producer = await client.producer("q", coalesce=1)
            with self.assertRaises(phalanx.OutcomeUnknown):
                await (await producer.enqueue("a"))
            self.assertEqual((await (await producer.enqueue("b"))).sequence, 1)
            with self.assertRaises(phalanx.OutcomeUnknown):
                await producer.close()
        ids = [opened for opened, _ in self.streams]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[1], ids[2])

    @fake.on_the_loop
    async def test_no_answer_before_the_deadline_is_unknown_and_the_window_holds_back(self) -> None:
        async def answer(context: Any, stream: int, number: int) -> bool:
            return False

        self.answer = answer  # type: ignore[method-assign]
        async with self.node, aio.Client([self.node.address]) as client:
            producer = await client.producer("q", window=1, send_deadline=0.3)
            written = await producer.enqueue("a")
            with self.assertRaises(phalanx.Unavailable):
                await producer.enqueue("b")
            with self.assertRaises(phalanx.OutcomeUnknown):
                await written
            self.assertEqual(producer.in_window, 1)


class Verdicts(unittest.TestCase):
    @fake.on_the_loop
    async def test_what_follows_a_batch_that_may_be_in_may_be_in_too(self) -> None:
        window = Window(WindowLimits(coalesce=1), b"1" * 16)
        items = [window.item([to_wire(body)], True) for body in ("a", "b")]
        window.push(items[0])
        self.assertEqual(len(window.next_frame().batches), 1)
        verdict.stream_ended(window, verdict.End(status.ended("node")))
        window.push(items[1])
        self.assertEqual(len(window.next_frame().batches), 2)
        # The second stream's first batch was given up in front of the log. The server has it from the first stream, so
        # there was no gap before the second.
        for reason in ("OVERLOADED", "INVALID_ARGUMENT"):
            failure = status.from_stream(pb.Failure(reason=reason))
            verdict.stream_ended(window, verdict.End(failure, refused_front=True))
            if reason == "OVERLOADED":
                self.assertEqual(len(window.next_frame().batches), 2)
        for item in items:
            self.assertIsInstance(item.future.exception(), phalanx.OutcomeUnknown)
        self.assertFalse(window.has_work)

    @fake.on_the_loop
    async def test_messages_that_wait_together_share_a_batch_but_large_ones_do_not(self) -> None:
        window = Window(WindowLimits(), b"1" * 16)
        for size in (1, 1, 20_000, 1):
            window.push(window.item([to_wire(b"x" * size)], True))
        counts = [len(batch.messages) for batch in window.next_frame().batches]
        self.assertEqual(counts, [2, 1, 1])
        with self.assertRaises(phalanx.Invalid):
            window.item([], False)


if __name__ == "__main__":
    unittest.main()
