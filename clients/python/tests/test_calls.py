"""Single calls: what is repeated, under which id, and what is said when no answer comes."""

from __future__ import annotations

import asyncio
import re
import unittest
from pathlib import Path
from typing import Any, List

import grpc

import fake
import phalanx
from phalanx import aio
from phalanx._core import rpc, status
from phalanx._core.backoff import Backoff
from phalanx.v1 import admin_pb2, messages_pb2

DOCS = Path(__file__).resolve().parents[3] / "docs" / "errors" / "README.md"


class Calls(unittest.TestCase):
    @fake.on_the_loop
    async def test_a_send_is_repeated_under_its_id_until_it_is_answered(self) -> None:
        ids: List[bytes] = []

        async def send(request: messages_pb2.SendRequest, context: Any) -> messages_pb2.SendResponse:
            ids.append(request.request_id)
            if len(ids) == 1:
                await fake.refuse(context, grpc.StatusCode.UNAVAILABLE, "NO_LEADER", 10)
            if len(ids) == 2:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "a proxy that nobody knows")
            return messages_pb2.SendResponse(first_sequence=7, count=1)

        node = fake.Node()
        node.unary(rpc.SEND, send)
        async with node, aio.Client([node.address]) as client:
            self.assertEqual(await client.send("q", b"x"), phalanx.Sent(7))
        self.assertEqual(len(ids), 3)
        self.assertEqual(len(set(ids)), 1)
        self.assertEqual(len(ids[0]), 16)

    @fake.on_the_loop
    async def test_a_refusal_after_a_lost_answer_leaves_the_outcome_open(self) -> None:
        calls: List[bytes] = []

        async def send(request: messages_pb2.SendRequest, context: Any) -> messages_pb2.SendResponse:
            calls.append(request.request_id)
            if len(calls) == 1:
                await context.abort(grpc.StatusCode.UNKNOWN, "lost")
            await fake.refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 70)
            raise AssertionError

        node = fake.Node()
        node.unary(rpc.SEND, send)
        async with node, aio.Client([node.address]) as client:
            with self.assertRaises(phalanx.OutcomeUnknown):
                await client.send("q", b"x")
            with self.assertRaises(phalanx.QueueFull) as full:
                await client.send("q", b"x")
        self.assertTrue(full.exception.retryable)
        self.assertEqual(full.exception.retry_after, 0.07)

    @fake.on_the_loop
    async def test_a_purge_whose_answer_is_lost_is_not_repeated(self) -> None:
        calls: List[int] = []

        async def purge(_request: Any, context: Any) -> admin_pb2.PurgeQueueResponse:
            calls.append(1)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
            raise AssertionError

        node = fake.Node()
        node.unary(rpc.PURGE_QUEUE, purge)
        async with node, aio.Client([node.address]) as client:
            with self.assertRaises(phalanx.OutcomeUnknown):
                await client.admin.purge_queue("q")
        self.assertEqual(len(calls), 1)

    @fake.on_the_loop
    async def test_a_deletion_names_the_life_that_it_found(self) -> None:
        uids: List[int] = []

        async def lookup(_request: Any, _context: Any) -> admin_pb2.LookupResponse:
            return admin_pb2.LookupResponse(uid=7, version=1, kind="queue")

        async def delete(request: Any, context: Any) -> admin_pb2.DeleteQueueResponse:
            uids.append(request.uid)
            if len(uids) == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "reset")
            await fake.refuse(context, grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND")
            raise AssertionError

        node = fake.Node()
        node.unary(rpc.LOOKUP, lookup)
        node.unary(rpc.DELETE_QUEUE, delete)
        async with node, aio.Client([node.address]) as client:
            await client.admin.delete_queue("q")
        self.assertEqual(uids, [7, 7])

    @fake.on_the_loop
    async def test_an_update_replaces_the_version_that_it_found(self) -> None:
        seen: List[int] = []

        async def lookup(_request: Any, _context: Any) -> admin_pb2.LookupResponse:
            return admin_pb2.LookupResponse(uid=7, version=3 + len(seen), kind="queue")

        async def update(request: Any, context: Any) -> admin_pb2.Queue:
            seen.append(request.if_version)
            if len(seen) == 1:
                await fake.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "VERSION_MISMATCH")
            return admin_pb2.Queue(name=request.name, uid=request.uid)

        node = fake.Node()
        node.unary(rpc.LOOKUP, lookup)
        node.unary(rpc.UPDATE_QUEUE, update)
        async with node, aio.Client([node.address]) as client:
            await client.admin.update_queue("q", phalanx.QueueSettings())
            self.assertEqual(seen, [3, 4])
            seen.clear()
            with self.assertRaises(phalanx.VersionMismatch):
                await client.admin.update_queue("q", phalanx.QueueSettings(), if_version=9)
        self.assertEqual(seen, [9])

    @fake.on_the_loop
    async def test_a_node_that_cannot_be_reached_has_done_nothing(self) -> None:
        async with fake.Node() as gone:
            pass
        client = aio.Client([gone.address], request_deadline=0.5)
        with self.assertRaises(phalanx.Unavailable):
            await client.admin.purge_queue("q")
        await client.close()

    @fake.on_the_loop
    async def test_another_node_is_asked_when_one_is_gone(self) -> None:
        async with fake.Node() as gone:
            pass

        async def send(_request: Any, _context: Any) -> messages_pb2.SendResponse:
            return messages_pb2.SendResponse(first_sequence=1, count=1)

        node = fake.Node()
        node.unary(rpc.SEND, send)
        async with node, aio.Client([gone.address, node.address]) as client:
            self.assertEqual((await client.send("q", b"x")).sequence, 1)

    @fake.on_the_loop
    async def test_a_silent_leader_is_left_on_the_word_of_a_later_term_alone(self) -> None:
        old, new = fake.Node(), fake.Node()
        view = [1, 4]
        requests: List[bytes] = []

        async def topology(_request: Any, _context: Any) -> admin_pb2.TopologyResponse:
            nodes = [admin_pb2.NodeAddress(node=n, client_address=a) for n, a in ((1, old.address), (2, new.address))]
            return admin_pb2.TopologyResponse(nodes=nodes, leader_node=view[0], leader_term=view[1])

        async def silent(request: Any, _context: Any) -> messages_pb2.SendResponse:
            requests.append(request.request_id)
            await asyncio.sleep(60)
            raise AssertionError

        async def send(request: Any, _context: Any) -> messages_pb2.SendResponse:
            requests.append(request.request_id)
            return messages_pb2.SendResponse(first_sequence=1, count=1)

        for node, served in ((old, silent), (new, send)):
            node.unary(rpc.TOPOLOGY, topology)
            node.unary(rpc.SEND, served)
        async def elect(term: int) -> None:
            await asyncio.sleep(0.5)
            view[:] = [2, term]

        addresses = [old.address, new.address]
        async with old, new:
            async with aio.Client(addresses, stall_timeout=20.0) as client:
                election = asyncio.ensure_future(elect(5))
                self.assertEqual((await asyncio.wait_for(client.send("q", b"x"), 15)).sequence, 1)
                await election
                self.assertEqual(requests, [requests[0]] * 2)
                self.assertNotEqual(requests[0], b"")
            view[:] = [1, 4]
            async with aio.Client(addresses, stall_timeout=20.0) as client:
                election = asyncio.ensure_future(elect(3))
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.send("q", b"x"), 1.5)
                await election

    @fake.on_the_loop
    async def test_the_leader_is_asked_directly_once_it_is_known(self) -> None:
        seen: List[str] = []

        async def topology(_request: Any, _context: Any) -> admin_pb2.TopologyResponse:
            seen.append("topology")
            nodes = [admin_pb2.NodeAddress(node=2, client_address=leader.address)]
            return admin_pb2.TopologyResponse(nodes=nodes, leader_node=2)

        async def send(_request: Any, _context: Any) -> messages_pb2.SendResponse:
            seen.append("leader")
            return messages_pb2.SendResponse(first_sequence=1, count=1)

        leader, seed = fake.Node(), fake.Node()
        leader.unary(rpc.SEND, send)
        seed.unary(rpc.TOPOLOGY, topology)
        async with leader, seed:
            client = aio.Client([seed.address])
            await client.send("q", b"x")
            await client.send("q", b"x")
            await client.close()
        self.assertEqual(seen, ["topology", "leader", "leader"])

    @fake.on_the_loop
    async def test_the_seed_forwards_when_the_leader_cannot_be_reached(self) -> None:
        async with fake.Node() as gone:
            pass
        seen: List[str] = []

        async def topology(_request: Any, _context: Any) -> admin_pb2.TopologyResponse:
            nodes = [admin_pb2.NodeAddress(node=2, client_address=gone.address)]
            return admin_pb2.TopologyResponse(nodes=nodes, leader_node=2)

        async def send(_request: Any, _context: Any) -> messages_pb2.SendResponse:
            seen.append("seed")
            return messages_pb2.SendResponse(first_sequence=1, count=1)

        async def serve(_requests: Any, context: Any) -> None:
            await context.send_initial_metadata(())
            await context.read()
            while (frame := await context.read()) is not grpc.aio.EOF:
                await context.write(fake.confirmed(*((number, number) for number, _ in fake.numbers(frame))))

        seed = fake.Node()
        seed.unary(rpc.TOPOLOGY, topology)
        seed.unary(rpc.SEND, send)
        seed.stream(rpc.SEND_STREAM, serve)
        async with seed:
            client = aio.Client([seed.address])
            await client.send("q", b"x")
            async with await client.producer("q") as producer:
                self.assertEqual((await producer.send(b"y")).sequence, 1)
            await client.close()
        self.assertEqual(seen, ["seed"])


class Statuses(unittest.TestCase):
    def test_every_reason_of_the_documentation_has_a_meaning(self) -> None:
        reasons = set(re.findall(r"^\| `([A-Z_]+)` \| `", DOCS.read_text(), re.M))
        self.assertGreater(len(reasons), 20)
        self.assertEqual(reasons - status.REASONS.keys(), set())

    def test_an_unknown_reason_is_refused_and_named(self) -> None:
        failure = status.from_stream(messages_pb2.Failure(reason="NEW", message="m", retry_delay_ms=50))
        self.assertEqual((failure.kind, failure.error.reason), (status.Kind.REFUSED, "NEW"))
        self.assertTrue(failure.error.retryable)

    @fake.on_the_loop
    async def test_a_reason_of_another_domain_leaves_the_outcome_open(self) -> None:
        async def purge(_request: Any, context: Any) -> admin_pb2.PurgeQueueResponse:
            await fake.refuse_as(context, grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "elsewhere", 0)
            raise AssertionError

        node = fake.Node()
        node.unary(rpc.PURGE_QUEUE, purge)
        async with node, aio.Client([node.address]) as client:
            with self.assertRaises(phalanx.OutcomeUnknown):
                await client.admin.purge_queue("q")

    def test_pauses_grow_to_the_bound(self) -> None:
        backoff = Backoff()
        self.assertLessEqual(backoff.next(None), 0.02)
        pauses = [backoff.next(None) for _ in range(50)]
        self.assertTrue(all(0.25 <= pause <= 0.5 for pause in pauses[10:]))
        self.assertGreater(len(set(pauses[10:])), 1)
        self.assertLessEqual(backoff.next(60.0), 5.0)


if __name__ == "__main__":
    unittest.main()
