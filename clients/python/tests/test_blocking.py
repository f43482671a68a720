"""The blocking face: what it adds to the one below."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import Any, List, Tuple

import grpc

import fake
import phalanx
from phalanx._core import rpc
from phalanx.blocking import loop
from phalanx.v1 import messages_pb2 as pb


class Blocking(unittest.TestCase):
    def setUp(self) -> None:
        self.frames: List[Tuple[int, List[bytes]]] = []
        self.held = threading.Event()

        async def start() -> fake.Node:
            node = fake.Node()
            node.stream(rpc.SEND_STREAM, self.serve)
            return await node.__aenter__()

        self.node = loop.run(start())

    def tearDown(self) -> None:
        loop.run(self.node.__aexit__())

    async def serve(self, _requests: Any, context: Any) -> None:
        await context.send_initial_metadata(())
        await context.read()
        sequence = 0
        while (frame := await context.read()) is not grpc.aio.EOF:
            self.frames += fake.numbers(frame)
            while self.held.is_set():
                await asyncio.sleep(0.01)
            for batch in frame.batches:
                sent = pb.SendResponse(first_sequence=sequence + 1, count=len(batch.messages))
                sequence += len(batch.messages)
                confirmation = pb.Confirmation(number=batch.number, sent=sent)
                await context.write(pb.SendStreamResponse(confirmations=[confirmation]))

    def test_a_small_window_holds_every_thread_back_and_keeps_the_order_of_each(self) -> None:
        threads, each = 3, 200
        confirmations: List[List[Any]] = [[] for _ in range(threads)]
        most = 0
        with phalanx.Client([self.node.address]) as client, client.producer("q", window=7) as producer:

            def send(thread: int) -> None:
                nonlocal most
                for number in range(each):
                    confirmations[thread].append(producer.enqueue(f"{thread}/{number}"))
                    most = max(most, producer.in_window)

            running = [threading.Thread(target=send, args=(thread,)) for thread in range(threads)]
            for one in running:
                one.start()
            for one in running:
                one.join()
        self.assertLessEqual(most, 7)
        bodies = [body.decode() for _, batch in self.frames for body in batch]
        for thread in range(threads):
            mine = [body for body in bodies if body.startswith(f"{thread}/")]
            self.assertEqual(mine, [f"{thread}/{number}" for number in range(each)])
            sequences = [one.result().sequence for one in confirmations[thread]]
            self.assertEqual([bodies[sequence - 1] for sequence in sequences], mine)

    def test_a_full_window_says_that_nothing_was_sent_and_takes_no_more_than_it_may(self) -> None:
        self.held.set()
        with phalanx.Client([self.node.address]) as client:
            producer = client.producer("q", window=5, send_deadline=0.5)
            futures = [producer.enqueue(str(number)) for number in range(5)]
            with self.assertRaises(phalanx.Unavailable):
                producer.enqueue("5")
            self.assertEqual({type(future.exception()) for future in futures}, {phalanx.OutcomeUnknown})
            self.held.clear()
            with self.assertRaises(phalanx.OutcomeUnknown):
                producer.close()
            with self.assertRaises(phalanx.Closed):
                producer.enqueue("late")

    def test_a_message_that_no_queue_takes_is_refused_at_once(self) -> None:
        with phalanx.Client([self.node.address]) as client, client.producer("q") as producer:
            with self.assertRaises(phalanx.Invalid):
                producer.enqueue_batch([])
            with self.assertRaises(TypeError):
                producer.enqueue_batch(b"one message")
        self.assertEqual(self.frames, [])


if __name__ == "__main__":
    unittest.main()
