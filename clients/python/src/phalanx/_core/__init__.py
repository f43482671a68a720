"""What both faces of the client share: one implementation, on asyncio. Not for use from outside.

`phalanx.aio` shows it as it is; `phalanx` runs it on an event loop of its own, in a thread. Everything here belongs to
one event loop and is used from there only, so that no state needs a lock; what little another thread may call says so. All times are seconds of `time.monotonic`.
"""
