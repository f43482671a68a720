//! Every limit and default of the client, with its unit, in one place.

use std::time::Duration;

/// Where a cluster is looked for when nothing else is said: the three nodes of `phalanx dev`.
pub const DEFAULT_ADDRESSES: [&str; 3] =
    ["http://127.0.0.1:7420", "http://127.0.0.1:7421", "http://127.0.0.1:7422"];

/// Setting up one connection may take this long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// `connect` gives up after this long.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A ping goes out this often, also on idle connections: a silently dead peer is noticed.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// A ping unanswered for this long ends the connection.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// One call, all its retries included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// From `enqueue` to the confirmation of a message; after it the outcome is reported as unknown.
pub const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// From a settle to its answer; after it the outcome is reported as unknown.
pub const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// A node that owes an answer for this long is left for another.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A leader that owes an answer for this long is doubted: other nodes are asked, one after the other at these intervals, who leads.
pub const DOUBT_AFTER: Duration = Duration::from_millis(300);
/// The first attach of a consumer and the first stream of a producer.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// A clean goodbye is given this long.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// First pause between attempts; doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause between attempts, unless the server names a longer one.
pub const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// No server makes the client wait longer than this for its next attempt.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// An address that could not be reached is avoided this long at first; doubles up to [`PENALTY_MAX`].
pub const PENALTY_MIN: Duration = Duration::from_millis(250);
/// Longest time for which an address is avoided.
pub const PENALTY_MAX: Duration = Duration::from_secs(15);
/// A known leader is asked for again after this long, so that a move is noticed even when forwarding hides it.
pub const TOPOLOGY_AGE_MAX: Duration = Duration::from_secs(30);
/// Queues whose leaders are remembered.
pub const TOPOLOGY_QUEUES_MAX: usize = 4_096;
/// Addresses known at most, the configured ones included.
pub const ADDRESSES_MAX: usize = 256;

/// Messages a producer may hold: waiting and unconfirmed together.
pub const PRODUCER_WINDOW_MESSAGES: usize = 1_024;
/// Payload bytes a producer may hold: waiting and unconfirmed together.
pub const PRODUCER_WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Unconfirmed batches of one producer. The server remembers the last 1,024 results, and a repeated batch must still
/// find its own.
pub const BATCHES_IN_FLIGHT_MAX: usize = 512;
const _: () = assert!(BATCHES_IN_FLIGHT_MAX < 1_024);
/// Messages that share a batch at most, when they were waiting at the same moment.
pub const COALESCE_MESSAGES: usize = 64;
/// Payload bytes that share a batch at most.
pub const COALESCE_BYTES: usize = 64 * 1024;
/// A message waits for company this long at most.
pub const LINGER_MAX: Duration = Duration::from_secs(1);
/// A message larger than this gets a batch of its own: sharing would save nothing.
pub const COALESCE_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// A larger batch travels alone: nothing else is unconfirmed while it is. If a server takes no frame of its size, it
/// is known which batch was too large.
pub const SOLO_BYTES: usize = 1024 * 1024;
/// A frame takes further batches until it is this large, bytes.
pub const FRAME_BYTES: usize = 256 * 1024;
/// Frames handed to the transport and not yet taken by it.
pub const FRAMES_QUEUED: usize = 2;
/// Messages of one explicit batch.
pub const BATCH_MESSAGES_MAX: usize = 1_024;
/// Payload bytes of one explicit batch of several messages.
pub const BATCH_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Size of one message: the largest body that a queue may allow, and what describes it.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024 + 128 * 1024;

/// Deliveries in a consumer's hands, waiting in the client included.
pub const CONSUMER_WINDOW_MESSAGES: u32 = 256;
/// The server's bound for [`CONSUMER_WINDOW_MESSAGES`].
pub const CONSUMER_WINDOW_MESSAGES_MAX: u32 = 65_536;
/// Payload bytes in a consumer's hands, waiting in the client included.
pub const CONSUMER_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Leases are extended by themselves for this long.
pub const MAX_PROCESSING: Duration = Duration::from_secs(60 * 60);
/// A message whose handler failed with an error, or panicked, is offered again after this long.
pub const NACK_DELAY: Duration = Duration::from_secs(1);
/// Settles that go into one frame.
pub const SETTLES_PER_FRAME: usize = 4_096;
/// Messages of one `receive`.
pub const RECEIVE_MESSAGES_MAX: u32 = 1_024;
/// The longest wait of one call; longer ones are made of several.
pub const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);

/// Largest answer or frame that is accepted, bytes.
pub const DECODE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// HTTP/2 window of one stream, bytes.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// HTTP/2 window of one connection, bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Queues asked for at once, and listed at most by one answer.
pub const PAGE_SIZE: u32 = 1_000;

/// A reply queue is deleted this long after its requester is gone.
pub const REPLY_QUEUE_EXPIRES: Duration = Duration::from_secs(60);
/// An ephemeral subscription is deleted this long after its consumer is gone, unless it says otherwise.
pub const EPHEMERAL_EXPIRES: Duration = Duration::from_secs(60);
/// Replies that may be in the hands of a requester.
pub const REPLIES_WINDOW: u32 = 1_024;
/// Requests of one requester that wait for their replies; more are refused.
pub const REQUESTS_MAX: usize = 65_536;
