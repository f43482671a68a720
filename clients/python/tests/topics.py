#!/usr/bin/env python3
"""Topics, the log, and request and reply with the Python client against three real nodes: `topics.py BINARY`."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import List

import phalanx
from cluster import Cluster

PATIENCE_S = 60.0


def drain(client: phalanx.Client, queue: str, count: int) -> List[str]:
    bodies = []
    with client.consumer(queue) as consumer:
        while len(bodies) < count:
            delivery = consumer.next(PATIENCE_S)
            assert delivery is not None, f"only {bodies} came"
            bodies.append(delivery.body.decode())
            delivery.ack()
    return bodies


def topics(client: phalanx.Client) -> None:
    admin = client.admin
    settings = phalanx.TopicSettings(retain=3600.0)
    assert admin.create_topic("t", settings).settings.retain == 3600.0
    assert [topic.name for topic in admin.list_topics()] == ["t"]
    odd = admin.create_subscription("t", "odd", phalanx.SubscriptionSettings(pattern="odd", filter="n < 8"))
    assert (odd.queue, odd.settings.filter) == ("t/odd", "n < 8")
    for number in range(10):
        key = "odd" if number % 2 else "even"
        message = phalanx.Message(str(number), routing_key=key, headers={"n": str(number)})
        sent = client.send("t", message)
        assert sent.matched == (1 if number % 2 and number < 8 else 0), f"{number}: {sent}"
    try:
        client.send("t", phalanx.Message("x", routing_key="even"), mandatory=True)
        raise AssertionError("a mandatory message that matches nothing was taken")
    except phalanx.Unroutable:
        pass
    assert drain(client, "t/odd", 4) == ["1", "3", "5", "7"]
    assert admin.mark_subscription("t", "odd", "done") == 11
    assert admin.seek_subscription("t", "odd", phalanx.Place(sequence=6)) == 6
    assert drain(client, "t/odd", 2) == ["5", "7"]
    assert admin.seek_subscription("t", "odd", phalanx.Place(mark="done")) == 11
    late = admin.create_subscription("t", "late", start=phalanx.Place(earliest=True))
    assert drain(client, late.queue, 10) == [str(number) for number in range(10)]
    page = admin.read_log("t", 0, 4)
    assert [one.message.body for one in page.messages] == [b"0", b"1", b"2", b"3"] and page.more
    assert page.next_sequence == 5 and page.first_sequence == 1
    assert admin.topic_info("t").stored == 10
    try:
        admin.create_subscription("t", "wrong", phalanx.SubscriptionSettings(filter="region = eu"))
        raise AssertionError("a filter that is none was taken")
    except phalanx.Invalid as error:
        assert "column 10" in str(error), str(error)
    admin.create_queue("q")
    made = admin.create_binding("t", "q", "q", phalanx.Conditions(pattern="odd"), start=phalanx.Place(sequence=8))
    assert (made.target, made.conditions.pattern) == ("q", "odd")
    assert drain(client, "q", 2) == ["7", "9"]
    admin.update_binding("t", "q", phalanx.Conditions(filter="n = 10"), if_version=made.version)
    assert client.send("t", phalanx.Message("10", headers={"n": "10"})).matched == 2
    assert drain(client, "q", 1) == ["10"]
    deadline = time.monotonic() + PATIENCE_S
    while admin.binding_info("t", "q").carried_total < 3:
        assert time.monotonic() < deadline, "the binding does not know what it has carried"
    assert [(one.name, one.target) for one in admin.list_bindings("t")] == [("q", "q")]
    try:
        admin.create_binding("t", "round", "t")
        raise AssertionError("a binding that goes round was made")
    except phalanx.Invalid as error:
        assert "go round" in str(error), str(error)
    admin.delete_binding("t", "q")
    admin.delete_subscription("t", "late")
    assert [one.name for one in admin.list_subscriptions("t")] == ["odd"]
    admin.delete_topic("t")


def requests(client: phalanx.Client) -> None:
    client.admin.create_queue("upper")
    failed: List[str] = []

    def upper(delivery: phalanx.Delivery) -> bytes:
        if delivery.body == b"fails once" and not failed:
            failed.append("once")
            raise ValueError("on purpose")
        return delivery.body.upper()

    serving = threading.Thread(target=lambda: client.serve("upper", upper, count=4, nack_delay=0.05))
    serving.start()
    for body in ("anvil", "fails once", "rocket"):
        reply = client.request("upper", body, deadline=PATIENCE_S)
        assert reply.body == body.upper().encode(), reply
    assert failed == ["once"]
    client.send("upper", "wants no reply")
    serving.join()
    try:
        client.request("upper", "nobody", deadline=0.3)
        raise AssertionError("a reply from nobody")
    except phalanx.OutcomeUnknown:
        pass


async def many(addresses: List[str]) -> None:
    async with phalanx.aio.Client(addresses) as client:
        await client.admin.create_queue("double")

        async def double(delivery: phalanx.aio.Delivery) -> str:
            await asyncio.sleep(0.005)
            return str(2 * int(delivery.body))

        serving = asyncio.ensure_future(client.serve("double", double, limit=16))
        asked = (client.request("double", str(number), deadline=PATIENCE_S) for number in range(100))
        replies = await asyncio.gather(*asked)
        assert [int(reply.body) for reply in replies] == [2 * number for number in range(100)]
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await client.admin.create_queue("grouped")
        grouped = [phalanx.Message(str(number), group="g") for number in range(8)]
        working: List[int] = []

        async def alone(delivery: phalanx.aio.Delivery) -> str:
            working.append(int(delivery.body))
            assert len(working) == 1, f"{working}: two of one group at once"
            await asyncio.sleep(0.01)
            working.clear()
            return "ok"

        serving = asyncio.ensure_future(client.serve("grouped", alone, limit=8))
        replies = await asyncio.gather(*(client.request("grouped", one, deadline=PATIENCE_S) for one in grouped))
        assert [reply.body for reply in replies] == [b"ok"] * 8
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def main() -> int:
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(sys.argv[1]), Path(directory)) as cluster:
        with phalanx.Client(cluster.addresses) as client:
            topics(client)
            requests(client)
            left = [queue.name for queue in client.admin.list_queues() if queue.name.startswith("~reply.")]
            assert len(left) == 1, f"{left}: one client, one reply queue"
        asyncio.run(many(cluster.addresses))
        with phalanx.Client(cluster.addresses) as client:
            left = [queue.name for queue in client.admin.list_queues() if queue.name.startswith("~reply.")]
            assert left == [], f"{left}: closed clients leave no reply queue"
    print("topics, the log, request and reply: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
