#!/usr/bin/env python3
"""Sends, receives and acknowledges orders through Phalanx, with nothing but grpcio and the proto files."""

import argparse
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import grpc
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
QUEUE = "python-orders"
DEADLINE_S = 5
# A leader change takes well under a second; this many tries with this pause cover a slow machine many times over.
TRIES = 60
PAUSE_S = 0.5


def generate():
    """Compiles the proto files into a temporary directory and imports the result."""
    out = tempfile.mkdtemp(prefix="phalanx-python-")
    files = ["phalanx/v1/messages.proto", "phalanx/v1/admin.proto"]
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    if protoc.main(arguments) != 0:
        sys.exit("cannot compile the proto files")
    sys.path.insert(0, out)
    names = ["messages_pb2", "messages_pb2_grpc", "admin_pb2", "admin_pb2_grpc"]
    return [importlib.import_module(f"phalanx.v1.{name}") for name in names]


class Cluster:
    """Calls any node; on a failure that a retry can mend, the same request goes to the next one."""

    def __init__(self, servers):
        self.channels = [grpc.insecure_channel(server) for server in servers]
        self.turn = 0
        self.retries = 0

    def call(self, stub, method, request):
        for _ in range(TRIES):
            channel = self.channels[self.turn % len(self.channels)]
            try:
                return getattr(stub(channel), method)(request, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)
                if error.code() in final:
                    raise
                self.retries += 1
                self.turn += 1
                time.sleep(PAUSE_S)
        sys.exit(f"{method}: no node answered")


def kill_leader(cluster, queues, admin, data):
    """kill -9 of the process that leads the queue's shard."""
    info = cluster.call(queues, "GetQueue", admin.GetQueueRequest(name=QUEUE))
    pid = int((Path(data) / f"node-{info.leader_node}" / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    print(f"killed node {info.leader_node}, which led the queue")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="127.0.0.1:7420,127.0.0.1:7421,127.0.0.1:7422")
    parser.add_argument("--kill-leader", metavar="DIR", help="data directory of a `phalanx dev` cluster")
    options = parser.parse_args()
    messages, messages_grpc, admin, admin_grpc = generate()
    cluster = Cluster(options.servers.split(","))
    stub, queues = messages_grpc.MessagesStub, admin_grpc.QueuesStub

    cluster.call(queues, "CreateQueue", admin.CreateQueueRequest(name=QUEUE))
    cluster.call(queues, "PurgeQueue", admin.PurgeQueueRequest(name=QUEUE))

    # One send is one send, however often it is tried: the request id says so.
    count = 50
    for number in range(count):
        order = messages.Message(body=f"order {number}".encode(), group=b"customer-7", content_type="text/plain")
        request = messages.SendRequest(queue=QUEUE, messages=[order], request_id=uuid.uuid4().bytes)
        killer = None
        if options.kill_leader and number == count // 2:
            killer = threading.Thread(target=kill_leader, args=(cluster, queues, admin, options.kill_leader))
            killer.start()
        answer = cluster.call(stub, "Send", request)
        if killer:
            killer.join()
            # Say it again after the crash: the answer must be that of the first time.
            again = cluster.call(stub, "Send", request)
            assert again.first_sequence == answer.first_sequence and again.repeated, (again, answer)
            print(f"sent order {number} twice under one request id: sequence {again.first_sequence} both times")

    consumer = uuid.uuid4().bytes
    bodies = []
    while len(bodies) < count:
        request = messages.ReceiveRequest(
            queue=QUEUE, consumer_id=consumer, request_id=uuid.uuid4().bytes, max_messages=10, wait_ms=2000
        )
        deliveries = cluster.call(stub, "Receive", request).deliveries
        if not deliveries:
            sys.exit(f"only {len(bodies)} of {count} orders came")
        bodies += [delivery.message.body.decode() for delivery in deliveries]
        tokens = [messages.TokenRange(first=delivery.token, last=delivery.token) for delivery in deliveries]
        item = messages.SettleItem(action=messages.SETTLE_ACTION_ACK, tokens=tokens)
        settled = cluster.call(stub, "Settle", messages.SettleRequest(queue=QUEUE, consumer_id=consumer, items=[item]))
        assert all(outcome.result == messages.SETTLE_RESULT_ACKED for outcome in settled.outcomes), settled

    assert bodies == [f"order {number}" for number in range(count)], bodies
    info = cluster.call(queues, "GetQueue", admin.GetQueueRequest(name=QUEUE))
    assert info.ready == 0 and info.leased == 0, info
    print(f"{count} orders sent, received in order and acknowledged; {cluster.retries} calls were repeated; queue empty")


if __name__ == "__main__":
    main()
