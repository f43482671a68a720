//! Every limit of what clients may ask for, with its unit. What is over one is refused before anything is written.

use std::time::Duration;

use phalanx_state_machine::limits as machine;

/// Messages of one batch.
pub const BATCH_MESSAGES_MAX: usize = 1_024;
/// Encoded messages of one batch, bytes.
pub const BATCH_BYTES_MAX: usize = machine::SEND_BYTES_MAX as usize;
/// Headers of one message.
pub const HEADERS_MAX: usize = 128;
/// Name of one header, bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 255;
/// Names and values of all headers of one message, bytes.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Deduplication id, bytes.
pub const DEDUPLICATION_ID_BYTES_MAX: usize = 256;
/// Content type, correlation id, reply-to, traceparent: each, bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// Ordering key, bytes.
pub const GROUP_BYTES_MAX: usize = machine::GROUP_KEY_BYTES_MAX;

/// Messages of one receive.
pub const RECEIVE_MESSAGES_MAX: u32 = machine::RECEIVE_MESSAGES_MAX;
/// Payload of one receive's answer, bytes: below gRPC's usual limit of 4 MiB, so that any client can take it. The first message is
/// always given.
pub const RECEIVE_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Longest wait of one receive.
pub const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(20);
/// A waiting receive answers this long before its caller's deadline, so that the answer is heard.
pub const RECEIVE_ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// Window of a consumer that names none, messages.
pub const WINDOW_MESSAGES_DEFAULT: u32 = 256;
/// Largest window, messages.
pub const WINDOW_MESSAGES_MAX: u32 = machine::WINDOW_MESSAGES_MAX;
/// Window of a consumer that names none, payload bytes.
pub const WINDOW_BYTES_DEFAULT: u64 = 8 * 1024 * 1024;
/// Items of one settle.
pub const SETTLE_ITEMS_MAX: usize = 4_096;
/// Ranges in all items of one settle, or held at an attach.
pub const TOKEN_RANGES_MAX: usize = machine::SETTLE_RANGES_MAX;
/// Longest lease, and longest delay of a nack, ms.
pub const LEASE_MS_MAX: u64 = machine::LEASE_MAX_MS;

/// Messages of one peek that names no number.
pub const PEEK_MESSAGES_DEFAULT: u32 = 10;
/// Messages of one peek.
pub const PEEK_MESSAGES_MAX: u32 = 1_000;
/// Payload of one peek's answer, bytes; the first message is always given.
pub const PEEK_BYTES_MAX: u64 = RECEIVE_BYTES_MAX;
/// Ordering groups on a page when the request names no number.
pub const GROUPS_PAGE_DEFAULT: u32 = 100;
/// Ordering groups on a page, but for those that share a hash with the last.
pub const GROUPS_PAGE_MAX: u32 = 1_000;

/// A stream's first frame must be there by then.
pub const FIRST_FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// A command of a stream waits for room in front of the log at most this long; its stream reads no further meanwhile.
pub const STREAM_ROOM_DEADLINE: Duration = Duration::from_secs(5);
/// A command of a stream is answered within this time, or its outcome is unknown and the stream ends.
pub const STREAM_WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// Commands of one stream that are not answered. The machine remembers as many results of a producer.
pub const STREAM_COMMANDS_MAX: usize = machine::PRODUCER_RESULTS_MAX as usize;
/// Frames given to the transport and not taken by it.
pub const STREAM_FRAMES_MAX: usize = 4;
/// Deliveries in one frame.
pub const FRAME_DELIVERIES_MAX: usize = 256;
/// Payload in one frame, bytes, unless one delivery alone is larger.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Payloads that one stream reads back from the checkpoint at the same time.
pub const READ_BACK_PARALLEL: usize = 8;

/// Routing key, bytes.
pub const ROUTING_KEY_BYTES_MAX: usize = 255;

const ATTRIBUTES: usize =
    4 * ATTRIBUTE_BYTES_MAX + ROUTING_KEY_BYTES_MAX + DEDUPLICATION_ID_BYTES_MAX + GROUP_BYTES_MAX;
/// Tags and lengths around one header or attribute, bytes.
const FIELD_OVERHEAD: usize = 16;
const _: () = assert!(
    HEADERS_BYTES_MAX + ATTRIBUTES + (HEADERS_MAX + 8) * FIELD_OVERHEAD
        <= machine::PAYLOAD_OVERHEAD_BYTES_MAX as usize
);
const _: () = assert!(BATCH_MESSAGES_MAX <= machine::SEND_MESSAGES_MAX);
