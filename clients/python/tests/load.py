"""The step `load` of the conformance scenarios: producers and consumers at once, and what must be true afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Tuple

import phalanx

#: Whoever waits for something that must come waits this long, seconds.
PATIENCE_S = 60.0
#: The lease of a load's deliveries: longer than any fail-over, seconds.
LEASE_S = 120.0
#: One look for a message, seconds.
LOOK_S = 0.2


@dataclass
class Load:
    """What was done and seen. Lists only grow, so that threads may share them."""

    client: phalanx.Client
    queue: str
    producers: int
    messages: int
    consumers: int
    calls: bool
    #: Body and sequence of what was confirmed, in the order of each producer's sends.
    confirmed: Dict[int, List[Tuple[str, int]]] = field(default_factory=dict)
    #: Body, token, sequence, future of the ack; of each consumer.
    acked: List[Tuple[str, int, int, Future[None]]] = field(default_factory=list)
    errors: List[str] = field(default_factory=list)
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, midway: Callable[[], None]) -> None:
        """Runs it all; calls `midway` when a third is confirmed. Raises `AssertionError` if a promise is broken."""
        everything = self.producers * self.messages
        with ThreadPoolExecutor(self.producers + self.consumers) as pool:
            produce, consume = (self._call, self._receive) if self.calls else (self._produce, self._consume)
            running = [pool.submit(produce, number) for number in range(self.producers)]
            running += [pool.submit(consume, number) for number in range(self.consumers)]
            while self.count < everything // 3 and not any(task.done() for task in running):
                time.sleep(0.001)
            try:
                assert self.count < everything, "the load was over before its middle"
                midway()
            finally:
                for task in running:
                    task.result()
        self._judge()

    def _message(self, producer: int, number: int) -> phalanx.Message:
        return phalanx.Message(f"{producer}/{number}", group=f"group-{producer}")

    def _confirm(self, producer: int, number: int, sent: phalanx.Sent) -> None:
        with self.lock:
            self.count += 1
            self.confirmed.setdefault(producer, []).append((f"{producer}/{number}", sent.sequence))

    def _call(self, producer: int) -> None:
        for number in range(self.messages):
            self._confirm(producer, number, self.client.send(self.queue, self._message(producer, number)))

    def _produce(self, producer: int) -> None:
        futures = []
        with self.client.producer(self.queue, window=64) as handle:
            for number in range(self.messages):
                future = handle.enqueue(self._message(producer, number))
                future.add_done_callback(lambda _: self._counted())
                futures.append(future)
        with self.lock:
            self.confirmed[producer] = [(f"{producer}/{n}", f.result().sequence) for n, f in enumerate(futures)]

    def _counted(self) -> None:
        with self.lock:
            self.count += 1

    def _over(self) -> bool:
        return len(self.acked) >= self.producers * self.messages

    def _consume(self, number: int) -> None:
        end = time.monotonic() + 2 * PATIENCE_S
        with self.client.consumer(self.queue, name=f"load-{number}", window=32, lease=LEASE_S) as handle:
            while not self._over() and time.monotonic() < end:
                self._take(handle.next(LOOK_S))

    def _receive(self, number: int) -> None:
        end = time.monotonic() + 2 * PATIENCE_S
        with self.client.receiver(self.queue, lease=LEASE_S) as handle:
            while not self._over() and time.monotonic() < end:
                for delivery in handle.receive(4, LOOK_S):
                    self._take(delivery)

    def _take(self, delivery: phalanx.Delivery | None) -> None:
        if delivery is not None:
            entry = (delivery.body.decode(), delivery.token, delivery.sequence, delivery.ack_nowait())
            self.acked.append(entry)

    def _judge(self) -> None:
        for body, token, _, ack in self.acked:
            error = ack.exception(PATIENCE_S)
            assert error is None, f"ack of {body} under token {token}: {error}"
        sent = {body: sequence for of_one in self.confirmed.values() for body, sequence in of_one}
        assert len(sent) == self.producers * self.messages, f"{len(sent)} of all messages were confirmed"
        for producer, of_one in self.confirmed.items():
            sequences = [sequence for _, sequence in of_one]
            assert sequences == sorted(set(sequences)), f"the order of producer {producer}"
        times = Counter(body for body, _, _, _ in self.acked)
        assert all(count == 1 for count in times.values()), f"twice: {[b for b, c in times.items() if c > 1][:5]}"
        assert times.keys() == sent.keys(), f"lost: {list(sent.keys() - times.keys())[:5]}"
        wrong = [body for body, _, sequence, _ in self.acked if sent[body] != sequence]
        assert not wrong, f"under another sequence than confirmed: {wrong[:5]}"
        self._judge_groups()
        info = self.client.admin.queue_info(self.queue)
        assert (info.ready, info.leased) == (0, 0), f"left in the queue: {info}"

    def _judge_groups(self) -> None:
        groups: Dict[str, List[Tuple[int, int]]] = {}
        for body, token, sequence, _ in self.acked:
            groups.setdefault(body.split("/")[0], []).append((token, sequence))
        for group, pairs in groups.items():
            order = [sequence for _, sequence in sorted(pairs)]
            assert order == sorted(order), f"the order of group {group}"
