"""The client for asyncio programs.

::

    async with phalanx.aio.Client(["127.0.0.1:7420"]) as client:
        await client.send("orders", b"three anvils")
        async with await client.consumer("orders") as consumer:
            async for delivery in consumer:
                await delivery.ack()

A client and all that it gives belong to the event loop on which they are first used.
"""

from phalanx.aio.admin import Admin
from phalanx.aio.client import Client
from phalanx.aio.consumer import Consumer, Delivery
from phalanx.aio.producer import Producer
from phalanx.aio.receiver import Receiver
from phalanx.aio.requests import Requester

__all__ = ["Admin", "Client", "Consumer", "Delivery", "Producer", "Receiver", "Requester"]
