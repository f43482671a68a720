#!/usr/bin/env python3
"""Generates the message classes from the proto files; with ``--check`` it only says whether they are up to date.

They are in the repository, so that ``pip install`` needs no compiler. The compiler is an old one on purpose: protobuf
reads what an older compiler wrote, and refuses what a newer one did.

    pip install grpcio-tools==1.62.3 'setuptools<81' && python generate.py
"""

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
SOURCE = HERE / "src"
#: Include path, file, and where its modules go below `src`.
FILES = [
    (PROTO, "phalanx/v1/messages.proto", "phalanx/v1/messages_pb2"),
    (PROTO, "phalanx/v1/admin.proto", "phalanx/v1/admin_pb2"),
    (HERE / "proto", "status.proto", "phalanx/_core/status_pb2"),
]


def compile_into(out: Path) -> list[str]:
    names = []
    for include, file, module in FILES:
        with tempfile.TemporaryDirectory() as made:
            well_known = Path(protoc.__file__).parent / "_proto"
            options = [f"-I{include}", f"-I{well_known}", f"--python_out={made}", f"--pyi_out={made}", file]
            if protoc.main(["protoc", *options]) != 0:
                sys.exit(f"cannot compile {file}")
            for suffix in (".py", ".pyi"):
                (out / module).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(made) / f"{file[:-len('.proto')]}_pb2{suffix}", out / f"{module}{suffix}")
                names.append(f"{module}{suffix}")
    return names


def main() -> None:
    if sys.argv[1:] != ["--check"]:
        compile_into(SOURCE)
        return
    with tempfile.TemporaryDirectory() as made:
        names = compile_into(Path(made))
        old = [name for name in names if not (SOURCE / name).is_file() or not filecmp.cmp(Path(made) / name, SOURCE / name, False)]
    if old:
        sys.exit(f"out of date: {', '.join(old)}; run clients/python/generate.py")
    print(f"{len(names)} generated files are up to date")


if __name__ == "__main__":
    main()
