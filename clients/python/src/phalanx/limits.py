"""Every limit and default of the client, with its unit, in one place."""

#: Where a cluster is looked for when nothing else is said: the three nodes of ``phalanx dev``.
DEFAULT_ADDRESSES = ("127.0.0.1:7420", "127.0.0.1:7421", "127.0.0.1:7422")

#: Setting up one connection may take this long, seconds.
CONNECT_TIMEOUT_S = 2.0
#: ``connect`` gives up after this long, seconds.
CONNECT_DEADLINE_S = 10.0
#: A ping goes out this often, also on idle connections: a silently dead peer is noticed. Seconds.
KEEPALIVE_INTERVAL_S = 2.0
#: A ping unanswered for this long ends the connection, seconds.
KEEPALIVE_TIMEOUT_S = 2.0
#: One call, all its retries included, seconds.
REQUEST_DEADLINE_S = 30.0
#: From ``enqueue`` to the confirmation of a message; after it the outcome is reported as unknown. Seconds.
SEND_DEADLINE_S = 30.0
#: From a settle to its answer; after it the outcome is reported as unknown. Seconds.
SETTLE_DEADLINE_S = 30.0
#: A node that owes an answer for this long is left for another, seconds.
STALL_TIMEOUT_S = 3.0
#: A leader that owes an answer for this long is doubted: other nodes are asked, one after the other, who leads; seconds.
DOUBT_AFTER_S = 0.3
#: The first attach of a consumer and the first stream of a producer, seconds.
OPEN_DEADLINE_S = 30.0
#: A clean goodbye is given this long, seconds.
CLOSE_DEADLINE_S = 5.0

#: First pause between attempts, seconds; doubles up to BACKOFF_MAX_S.
BACKOFF_MIN_S = 0.02
#: Longest pause between attempts, seconds, unless the server names a longer one.
BACKOFF_MAX_S = 0.5
#: No server makes the client wait longer than this for its next attempt, seconds.
RETRY_AFTER_MAX_S = 5.0
#: How long to wait where the server says that waiting helps and names no time, seconds.
RETRY_AFTER_DEFAULT_S = 0.1
#: An address that could not be reached is avoided this long at first, seconds; doubles up to PENALTY_MAX_S.
PENALTY_MIN_S = 0.25
#: Longest time for which an address is avoided, seconds.
PENALTY_MAX_S = 15.0
#: gRPC tries to reach a lost node again after this long, seconds; doubles up to RECONNECT_MAX_S.
RECONNECT_MIN_S = 0.1
#: Longest pause of gRPC between two connection attempts, seconds.
RECONNECT_MAX_S = 1.0
#: A known leader is asked for again after this long, seconds, so that a move is noticed even when forwarding hides it.
TOPOLOGY_AGE_MAX_S = 30.0
#: Queues whose leaders are remembered.
TOPOLOGY_QUEUES_MAX = 4096
#: Addresses known at most, the configured ones included.
ADDRESSES_MAX = 256

#: Messages a producer may hold: waiting and unconfirmed together.
PRODUCER_WINDOW_MESSAGES = 1024
#: Payload bytes a producer may hold: waiting and unconfirmed together.
PRODUCER_WINDOW_BYTES = 16 * 1024 * 1024
#: Unconfirmed batches of one producer. The server remembers the last 1,024 results, and a repeated batch must still
#: find its own.
BATCHES_IN_FLIGHT_MAX = 512
#: Messages that share a batch at most, when they were waiting at the same moment.
COALESCE_MESSAGES = 64
#: Payload bytes that share a batch at most.
COALESCE_BYTES = 64 * 1024
#: A message larger than this gets a batch of its own: sharing would save nothing. Bytes.
COALESCE_MESSAGE_BYTES_MAX = 16 * 1024
#: A larger batch travels alone: if a server takes no frame of its size, it is known which batch was too large. Bytes.
SOLO_BYTES = 1024 * 1024
#: A frame takes further batches until it is this large, bytes.
FRAME_BYTES = 256 * 1024
#: Messages of one explicit batch.
BATCH_MESSAGES_MAX = 1024
#: Payload bytes of one explicit batch of several messages.
BATCH_BYTES_MAX = 20 * 1024 * 1024
#: Size of one message: the largest body that a queue may allow, and what describes it. Bytes.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024 + 128 * 1024

#: Deliveries in a consumer's hands, waiting in the client included.
CONSUMER_WINDOW_MESSAGES = 256
#: The server's bound for CONSUMER_WINDOW_MESSAGES.
CONSUMER_WINDOW_MESSAGES_MAX = 65_536
#: Payload bytes in a consumer's hands, waiting in the client included.
CONSUMER_WINDOW_BYTES = 8 * 1024 * 1024
#: Leases are extended by themselves for this long, seconds.
MAX_PROCESSING_S = 3600.0
#: Settles that go into one frame.
SETTLES_PER_FRAME = 4096
#: Settles of a receiver that may wait for an answer before ``receive`` waits for them.
SETTLES_WAITING_MAX = 16 * 1024
#: Messages of one ``receive``.
RECEIVE_MESSAGES_MAX = 1024
#: The longest wait of one call, seconds; longer ones are made of several.
RECEIVE_WAIT_MAX_S = 20.0

#: Largest answer or frame that is accepted, bytes.
DECODE_BYTES_MAX = 64 * 1024 * 1024
#: Queues asked for at once, and listed at most by one answer.
PAGE_SIZE = 1000
#: A reply queue is deleted this long after its requester is gone.
REPLY_QUEUE_EXPIRES_S = 60.0
#: Replies that may be in the hands of a requester.
REPLIES_WINDOW = 1024
#: Requests of one requester that wait for their replies; more are refused.
REQUESTS_MAX = 65_536
#: A request whose handler failed is offered again after this long.
NACK_DELAY_S = 1.0
