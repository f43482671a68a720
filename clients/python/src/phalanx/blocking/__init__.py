"""The client for programs with threads: `phalanx.aio` on an event loop of its own."""

from phalanx.blocking.client import Admin, Client
from phalanx.blocking.consumer import Consumer, Delivery, Receiver
from phalanx.blocking.producer import Producer

__all__ = ["Admin", "Client", "Consumer", "Delivery", "Producer", "Receiver"]
