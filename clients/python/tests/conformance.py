#!/usr/bin/env python3
"""Runs clients/conformance/scenarios.toml with the Python client: `conformance.py BINARY [NAME]`."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import tomllib
import traceback
from pathlib import Path
from typing import Any, Dict, List, Optional

import phalanx
from cluster import Cluster
from load import PATIENCE_S, Load

SCENARIOS = Path(__file__).resolve().parents[2] / "conformance" / "scenarios.toml"
SECONDS = ("lease", "dedup_window", "resume")


class Scenario:
    """One scenario under way. A step `do = "x"` is the method `do_x`, its fields are the arguments."""

    def __init__(self, cluster: Cluster, client: phalanx.Client, queue: str) -> None:
        self.cluster, self.client, self.queue = cluster, client, queue
        self.receivers: Dict[str, phalanx.Receiver] = {}
        self.streams: Dict[str, phalanx.Consumer] = {}
        self.hands: Dict[str, phalanx.Delivery] = {}
        self.requests: Dict[str, bytes] = {}
        self.saved: Dict[str, List[int]] = {}

    def run(self, scenario: Dict[str, Any]) -> None:
        steps = scenario["steps"]
        if steps[0]["do"] != "create":
            self.do_create(scenario.get("settings", {}))
        for place, step in enumerate(steps):
            fields = dict(step)
            method = getattr(self, f"do_{fields.pop('do')}")
            wanted = fields.pop("error", None)
            try:
                try:
                    method(**fields)
                except phalanx.Error as error:
                    assert error.reason == wanted, f"expected {wanted or 'success'}, got {error}"
                else:
                    assert wanted is None, f"expected {wanted}, got success"
            except Exception as error:
                raise AssertionError(f"step {place + 1}, {step}: {error or repr(error)}") from error

    def end(self) -> None:
        for handle in (*self.streams.values(), *self.receivers.values()):
            handle.close()
        try:
            self.client.admin.delete_queue(self.queue)
        except phalanx.QueueNotFound:
            pass

    @staticmethod
    def settings(fields: Dict[str, Any]) -> phalanx.QueueSettings:
        seconds = {name: fields[f"{name}_ms"] / 1000 for name in SECONDS if f"{name}_ms" in fields}
        others = {name: value for name, value in fields.items() if not name.endswith("_ms")}
        return phalanx.QueueSettings(**seconds, **others)

    def do_create(self, settings: Dict[str, Any] = {}) -> None:
        self.client.admin.create_queue(self.queue, self.settings(settings))

    def do_update(self, settings: Dict[str, Any], if_version: Optional[int] = None) -> None:
        self.client.admin.update_queue(self.queue, self.settings(settings), if_version=if_version)

    def do_delete(self) -> None:
        self.client.admin.delete_queue(self.queue)

    def do_purge(self, removed: int = 0) -> None:
        count = self.client.admin.purge_queue(self.queue)
        assert count == removed, f"{count} were removed"

    def do_info(self, version: Optional[int] = None, **numbers: int) -> None:
        info = self.client.admin.queue_info(self.queue)
        seen = {name: getattr(info, name) for name in numbers}
        assert seen == numbers, f"{seen}"
        assert version in (None, info.queue.version), f"version {info.queue.version}"

    def do_listed(self, **fields: bool) -> None:
        listed = self.queue in [queue.name for queue in self.client.admin.list_queues()]
        assert listed == fields["as"], f"listed: {listed}"

    def do_nodes(self, count: int) -> None:
        nodes = self.client.admin.status().nodes
        assert len(nodes) == count and all(node.reachable for node in nodes), f"{nodes}"

    def do_send(self, bodies: List[str], request: Optional[str] = None, **fields: Any) -> None:
        request_id = self.requests.setdefault(request, phalanx.random_id()) if request else None
        self._sent(self.client.send_batch(self.queue, self._messages(bodies, fields), request_id=request_id), fields)

    def do_produce(self, bodies: List[str], batch: bool = False, **fields: Any) -> None:
        messages = self._messages(bodies, fields)
        with self.client.producer(self.queue) as producer:
            if batch:
                sent = producer.enqueue_batch(messages).result()
            else:
                sent = [future.result() for future in [producer.enqueue(message) for message in messages]]
        sequences = [one.sequence for one in sent]
        assert sequences == sorted(set(sequences)), f"sequences {sequences}"
        self._sent(sent, fields)

    @staticmethod
    def _messages(bodies: List[str], fields: Dict[str, Any]) -> List[phalanx.Message]:
        size = fields.pop("body_bytes", 0)
        message = fields.pop("message", {})
        return [phalanx.Message(body.ljust(size, "."), **message) for body in bodies]

    def _sent(self, sent: List[phalanx.Sent], fields: Dict[str, Any]) -> None:
        sequences = [one.sequence for one in sent]
        if "save" in fields:
            self.saved[fields.pop("save")] = sequences
        if "same_as" in fields:
            assert sequences == self.saved[fields.pop("same_as")], f"sequences {sequences}"
        if "duplicate" in fields:
            wanted = fields.pop("duplicate")
            assert all(one.duplicate == wanted for one in sent), f"{sent}"
        assert not fields, f"unknown fields {fields}"

    def do_receive(self, expect: List[str], consumer: str = "me", **fields: Any) -> None:
        if consumer not in self.receivers:
            self.receivers[consumer] = self.client.receiver(self.queue)
        wait, lease = fields.pop("wait_ms", None), fields.pop("lease_ms", None)
        receiver = self.client.receiver(self.queue, lease=lease / 1000) if lease else self.receivers[consumer]
        self.receivers[f"{consumer}, lease {lease}"] = receiver
        most = fields.pop("max", 10)

        def get(left: float) -> List[phalanx.Delivery]:
            return receiver.receive(most, left)

        self._expect(expect, get, consumer, wait, fields)

    def do_open(
        self,
        consumer: str = "me",
        window: int = 256,
        lease_ms: Optional[int] = None,
        max_processing_ms: Optional[int] = None,
    ) -> None:
        self.streams[consumer] = self.client.consumer(
            self.queue,
            name=consumer,
            window=window,
            lease=lease_ms / 1000 if lease_ms else None,
            max_processing=None if max_processing_ms == 0 else 3600,
        )

    def do_close(self, consumer: str = "me") -> None:
        self.streams.pop(consumer).close()

    def do_take(self, expect: List[str], consumer: str = "me", **fields: Any) -> None:
        stream = self.streams[consumer]

        def get(left: float) -> List[phalanx.Delivery]:
            delivery = stream.next(left)
            return [] if delivery is None else [delivery]

        self._expect(expect, get, consumer, fields.pop("wait_ms", None), fields)

    def _expect(self, expect: List[str], get: Any, consumer: str, wait: Any, fields: Dict[str, Any]) -> None:
        """Exactly these, in order. For what must come there is a minute; nothing must come for as long as it says."""
        end = time.monotonic() + (PATIENCE_S if wait is None else wait / 1000)
        came: List[phalanx.Delivery] = []
        while len(came) < max(len(expect), 1):
            left = end - time.monotonic()
            if left < 0 and (came or expect or wait):
                break
            came += get(max(left, 0))
            if not came and not expect:
                break
        bodies = [delivery.body.decode() for delivery in came]
        assert bodies == expect, f"came: {bodies}"
        redelivery, message = fields.pop("redelivery", None), fields.pop("message", {})
        attempt = fields.pop("attempt", None)
        assert not fields, f"unknown fields {fields}"
        for body, delivery in zip(bodies, came):
            self.hands[f"{consumer}/{body}"] = delivery
            assert attempt in (None, delivery.attempt), f"attempt {delivery.attempt} of {body}"
            told = delivery.redelivery.name.lower() if delivery.redelivery else None
            assert redelivery in (None, told), f"redelivery of {body}: {told}"
            for name, value in message.items():
                self._same(name, value, getattr(delivery.message, name))

    @staticmethod
    def _same(name: str, wanted: Any, seen: Any) -> None:
        if name == "headers":
            seen = {key: value.decode() for key, value in seen.items()}
        elif name == "group":
            seen = seen.decode()
        assert seen == wanted, f"{name}: {seen!r}"

    def _each(self, bodies: List[str], consumer: str) -> List[phalanx.Delivery]:
        return [self.hands[f"{consumer}/{body}"] for body in bodies]

    def do_ack(self, bodies: List[str], consumer: str = "me") -> None:
        for delivery in self._each(bodies, consumer):
            delivery.ack()

    def do_nack(self, bodies: List[str], consumer: str = "me", delay_ms: int = 0) -> None:
        for delivery in self._each(bodies, consumer):
            delivery.nack(delay_ms / 1000)

    def do_reject(self, bodies: List[str], consumer: str = "me") -> None:
        for delivery in self._each(bodies, consumer):
            delivery.reject()

    def do_extend(self, bodies: List[str], consumer: str = "me", lease_ms: Optional[int] = None) -> None:
        for delivery in self._each(bodies, consumer):
            delivery.extend(lease_ms / 1000 if lease_ms else None)

    def do_lost(self, body: str, reason: str, consumer: str = "me") -> None:
        told = self.hands[f"{consumer}/{body}"].wait_lost(PATIENCE_S)
        assert told is not None and told.name.lower() == reason, f"lost: {told}"

    def do_sleep(self, ms: int) -> None:
        time.sleep(ms / 1000)

    def do_load(self, producers: int, messages: int, consumers: int, kill: bool = False, calls: bool = False) -> None:
        killed = []

        def midway() -> None:
            if kill:
                killed.append(self.client.admin.queue_info(self.queue).leader_node)
                self.cluster.kill(killed[0])

        try:
            Load(self.client, self.queue, producers, messages, consumers, calls).run(midway)
        finally:
            for node in killed:
                self.cluster.start(node)
            self.cluster.wait_ready()


def main() -> int:
    logging.basicConfig(level=logging.WARNING)
    scenarios = tomllib.loads(SCENARIOS.read_text())["scenario"]
    scenarios = [one for one in scenarios if all(word in one["name"] for word in sys.argv[2:])]
    failed = 0
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(sys.argv[1]), Path(directory)) as cluster:
        with phalanx.Client(cluster.addresses) as client:
            for number, scenario in enumerate(scenarios):
                begin = time.monotonic()
                under_way = Scenario(cluster, client, f"conformance-{number}")
                try:
                    under_way.run(scenario)
                    under_way.end()
                    verdict = "ok"
                except Exception as error:
                    failed += 1
                    verdict = f"FAILED: {error}"
                    if not isinstance(error, AssertionError):
                        traceback.print_exc()
                print(f"{scenario['name']}: {verdict} ({time.monotonic() - begin:.1f} s)", flush=True)
    print(f"conformance of the Python client: {len(scenarios) - failed} of {len(scenarios)} scenarios")
    return 1 if failed or not scenarios else 0


if __name__ == "__main__":
    sys.exit(main())
