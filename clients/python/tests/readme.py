#!/usr/bin/env python3
"""Runs the Python examples of the README against three real nodes: `readme.py BINARY`."""

import re
import sys
import tempfile
from pathlib import Path

from cluster import Cluster

README = Path(__file__).resolve().parents[1] / "README.md"


def main() -> None:
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    if not examples:
        sys.exit("the README has no example")
    with tempfile.TemporaryDirectory() as directory, Cluster(Path(sys.argv[1]), Path(directory)) as cluster:
        for example in examples:
            exec(compile(example.replace("127.0.0.1:7420", cluster.addresses[0]), "README.md", "exec"), {})
    print(f"{len(examples)} examples of the README ran")


if __name__ == "__main__":
    main()
