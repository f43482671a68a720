"""Changes that name the life of what they change.

A queue may be deleted, and another one created under its name. A change that is repeated until it is answered leaves copies that may
arrive late; it says which life it means, and which version of its settings it replaces, so that a copy changes nothing that came later.
"""

from __future__ import annotations

from typing import Callable, Optional

from phalanx import errors
from phalanx._core import rpc
from phalanx._core.call import Core, Repeat
from phalanx._core.rpc import Method, Request, Response
from phalanx.v1 import admin_pb2 as pb

#: Updates that say no version try again so often when someone else's comes between.
UPDATE_ROUNDS_MAX = 8


class Lives:
    """A part of ``client.admin``."""

    _core: Core
    _namespace: str

    async def _life(self, kind: str, name: str) -> pb.LookupResponse:
        request = pb.LookupRequest(namespace=self._namespace, name=name)
        life = await self._core.call(rpc.LOOKUP, request, Repeat.READ)
        if life.kind != kind:
            raise errors.QueueNotFound(f"no {kind} {name!r}: it is a {life.kind}")
        return life

    async def _update(
        self,
        kind: str,
        name: str,
        if_version: Optional[int],
        method: Method[Request, Response],
        request: Callable[[int, int], Request],
    ) -> Response:
        """`request` is given the uid and the version that are to be replaced."""
        rounds = UPDATE_ROUNDS_MAX
        while True:
            life = await self._life(kind, name)
            rounds -= 1
            try:
                return await self._core.call(method, request(life.uid, if_version or life.version), Repeat.SAME)
            except errors.VersionMismatch:
                if if_version or not rounds:
                    raise

    async def _delete(
        self, kind: str, name: str, method: Method[Request, Response], request: Callable[[int], Request]
    ) -> None:
        """`request` is given the uid that is to go. That it is not there any more is what was asked for."""
        uid = (await self._life(kind, name)).uid
        try:
            await self._core.call(method, request(uid), Repeat.SAME, done=errors.QueueNotFound)
        except errors.QueueNotFound:
            pass
