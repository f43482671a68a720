"""Three real nodes on free ports of the loopback, for tests. They end with the test."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Dict, List

NODES = (1, 2, 3)
SHARDS = 4
#: A node is given this long to become ready, and to stop, seconds.
START_S, STOP_S = 60.0, 15.0
#: Pause between two questions whether a node is ready, seconds.
LOOK_S = 0.05
LOG = "[wal]\nsegment_bytes = 16777216\nbudget_bytes = 134217728\n[limits]\nrequest_bytes = 4194304\n"


#: Below the ports that systems give to outgoing connections: one of those could be taken again before the node binds it.
PORTS = range(10_000, 30_000)


def _free_ports(count: int) -> List[int]:
    ports: List[int] = []
    while len(ports) < count:
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", random.choice(PORTS)))
            except OSError:
                continue
            if one.getsockname()[1] not in ports:
                ports.append(one.getsockname()[1])
    return ports


class Cluster:
    """Starts with `with`."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary = binary.resolve()
        self._directory = directory
        self._ports = {node: _free_ports(3) for node in NODES}
        self._processes: Dict[int, subprocess.Popen[bytes]] = {}
        self.addresses = [f"127.0.0.1:{self._ports[node][0]}" for node in NODES]

    def _config(self, node: int) -> Path:
        home = self._directory / f"node-{node}"
        home.mkdir(parents=True, exist_ok=True)
        client, peer, admin = self._ports[node]
        text = f"[node]\nid = {node}\ndata_dir = '{home / 'data'}'\n[client]\nlisten = \"127.0.0.1:{client}\"\n"
        text += f'[peer]\nlisten = "127.0.0.1:{peer}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        text += f"[cluster]\nshards = {SHARDS}\n"
        for other, ports in self._ports.items():
            text += f'[[peers]]\nid = {other}\npeer = "127.0.0.1:{ports[1]}"\nclient = "127.0.0.1:{ports[0]}"\n'
        path = home / "config.toml"
        path.write_text(text + LOG)
        return path

    def start(self, node: int) -> None:
        """Starts a node; does not wait until it is ready."""
        config = self._config(node)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PHALANX_")}
        with open(self.log(node), "ab") as log:
            self._processes[node] = subprocess.Popen(
                [self._binary, "server", "--until-stdin-closes", "--config", config],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
            )

    def log(self, node: int) -> Path:
        """What it said."""
        return self._directory / f"node-{node}" / "log"

    def wait_ready(self) -> None:
        """Waits until all nodes serve."""
        end = time.monotonic() + START_S
        for node in NODES:
            url = f"http://127.0.0.1:{self._ports[node][2]}/readyz"
            while True:
                try:
                    with urllib.request.urlopen(url, timeout=START_S):
                        break
                except OSError as error:
                    ended = self._processes[node].poll()
                    if ended is not None or time.monotonic() > end:
                        raise RuntimeError(f"node {node} is not ready (ended: {ended}): {error}") from error
                    time.sleep(LOOK_S)

    def kill(self, node: int) -> None:
        """`kill -9`, and waits until it is gone."""
        self._processes[node].kill()
        self._processes[node].wait()

    def __enter__(self) -> Cluster:
        try:
            for node in NODES:
                self.start(node)
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
