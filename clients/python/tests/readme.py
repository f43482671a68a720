#!/usr/bin/env python3
"""Runs the Python examples of the README against three real nodes: `readme.py BINARY`."""

import contextlib
import io
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
        printed = io.StringIO()
        for example in examples:
            with contextlib.redirect_stdout(printed):
                exec(compile(example.replace("127.0.0.1:7420", cluster.addresses[0]), "README.md", "exec"), {})
    print(f"{len(examples)} examples of the README ran and printed {len(printed.getvalue().splitlines())} lines")


if __name__ == "__main__":
    main()
