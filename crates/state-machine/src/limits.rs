//! Every limit of the machine, with its unit, in one place.
//!
//! Limits guard memory, the size of one entry's work, and the size of rows. A command beyond one is rejected or
//! clamped, always the same way on every replica: changing a limit changes what `apply` answers, so it needs a new
//! feature level.

use crate::command::QueueSettings;
use crate::ids::{QueueUid, Token};

/// Most messages of one send.
pub const SEND_MESSAGES_MAX: usize = 16_384;
/// Most payload bytes of one send.
pub const SEND_BYTES_MAX: u64 = 20 * MIB;
/// What a payload may hold beside its body: headers, attributes and their encoding, bytes.
pub const PAYLOAD_OVERHEAD_BYTES_MAX: u64 = 128 * 1024;
/// Longest group key, bytes.
pub const GROUP_KEY_BYTES_MAX: usize = 1024;
/// Longest name or namespace, bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Body of one message when the settings say nothing, bytes.
pub const BODY_BYTES_DEFAULT: u64 = MIB;
/// Largest body that settings may allow, bytes.
pub const BODY_BYTES_MAX: u64 = 16 * MIB;
/// Queue length when the settings say nothing, messages.
pub const LENGTH_DEFAULT: u64 = 10_000_000;
/// Most messages that settings may allow.
pub const LENGTH_MAX: u64 = 1_000_000_000;
/// Queue size when the settings say nothing, payload bytes.
pub const BYTES_DEFAULT: u64 = 8 * 1024 * MIB;
/// Most payload bytes that settings may allow.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024 * MIB;

/// Lease when neither the queue nor the consumer says one, ms.
pub const LEASE_DEFAULT_MS: u64 = 30_000;
/// Longest lease and longest nack delay, ms.
pub const LEASE_MAX_MS: u64 = 12 * 3_600_000;
/// How long leases wait for a consumer that lost its stream, when the settings say nothing, ms.
pub const RESUME_DEFAULT_MS: u64 = 10_000;
/// Longest of that, ms.
pub const RESUME_MAX_MS: u64 = 600_000;
/// Deduplication window when the settings say nothing, ms.
pub const DEDUP_WINDOW_DEFAULT_MS: u64 = 300_000;
/// Longest of that, ms.
pub const DEDUP_WINDOW_MAX_MS: u64 = 7 * DAY_MS;

/// Largest window of a consumer, messages; also the most leases one consumer may hold.
pub const WINDOW_MESSAGES_MAX: u32 = 65_536;
/// Most messages of one receive.
pub const RECEIVE_MESSAGES_MAX: u32 = 1024;
/// Most payload bytes of one receive (the first message is always given).
pub const RECEIVE_BYTES_MAX: u64 = 64 * MIB;
/// Most live leases of one queue; beyond it nothing is assigned.
pub const LEASES_PER_QUEUE_MAX: u64 = 1_000_000;
/// Most consumers of one queue, attached, waiting to resume, or with remembered answers.
pub const CONSUMERS_PER_QUEUE_MAX: usize = 16_384;
/// Longest name of a consumer, bytes; more is cut at a character.
pub const CONSUMER_NAME_BYTES_MAX: usize = 255;

/// Most items of one settle.
pub const SETTLE_ITEMS_MAX: usize = 65_536;
/// Most ranges in all items of one settle, and of `held` in an attach.
pub const SETTLE_RANGES_MAX: usize = 65_536;
/// Most outcomes of one settle; tokens beyond it are left untouched and unanswered.
pub const SETTLE_OUTCOMES_MAX: usize = 131_072;
/// Most tokens that one settle looks at for its ranges and `up_to`s, the caller's own or not; ranges beyond it are left
/// untouched and unanswered. A range costs its width or the caller's hand, whichever is less.
pub const SETTLE_STEPS_MAX: usize = 4 * 1024 * 1024;
/// Most tokens an attach may name as held; those beyond it are not looked at.
pub const HELD_TOKENS_MAX: usize = 65_536;
/// Answers remembered for each consumer, at least.
pub const ANSWERS_MIN: usize = 65_536;

/// Tokens that are set aside for each queue. One that gives more goes on into those of the next uid: then only a namesake that was given
/// that very uid could meet them.
pub const TOKENS_PER_QUEUE: u64 = 1 << 40;
/// Queues whose tokens do not overlap; the one after these has the first one's again.
pub const TOKEN_RANGES: u64 = 1 << 23;
/// Highest token that a queue may begin with: no queue can give so many that the numbers run out.
pub const FIRST_TOKEN_MAX: Token = 1 << 63;

/// Most subscriptions of one topic.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Most bindings that feed one queue or topic.
pub const INBOXES_MAX: usize = 256;
/// Most bindings in a row, from a topic to the last queue that it feeds.
pub const HOPS_MAX: usize = 16;
/// Most messages that go on over bindings in the entry that brought them; the others wait for the outbox.
pub const FLOW_PER_COMMAND_MAX: usize = 65_536;
/// Most matches by filter that one publish may come to: (message, subscription) pairs.
pub const FANOUT_MAX: usize = 1_048_576;
/// Most messages that one command takes in from the topic of a subscription; the rest is due at once in the next entry.
pub const PULLS_PER_COMMAND_MAX: usize = 4_096;
/// Most messages of a topic that one entry looks at to see whether anybody needs them, beside those it brings.
pub const TRIM_PER_ENTRY_MAX: usize = 4_096;

/// Longest time for which a topic may be told to keep messages, ms: 10 years.
pub const RETAIN_MAX_MS: u64 = 3_653 * DAY_MS;
/// Shortest disuse after which a queue may be told to end, ms: receives that find nothing are noted every quarter of it.
pub const EXPIRES_MIN_MS: u64 = 1_000;
/// Longest disuse after which a queue may be told to end, ms.
pub const EXPIRES_MAX_MS: u64 = 365 * DAY_MS;
/// Messages of a topic leave its retention in steps of this, ms, so that they cause few ticks.
pub const RETAIN_STEP_MS: u64 = 1_000;
/// Most named places of a subscription.
pub const MARKS_MAX: usize = 64;
/// Most messages that one replay command says something of.
pub const REPLAY_MESSAGES_MAX: u64 = 65_536;

/// Results remembered for each producer.
pub const PRODUCER_RESULTS_MAX: u64 = 1024;
/// Producers remembered for each queue. One more makes the longest idle one forgotten, if that is idle for
/// [`REQUEST_WINDOW_MS`], and is refused otherwise.
pub const PRODUCERS_PER_QUEUE_MAX: usize = 100_000;
/// A producer that sent nothing for so long is forgotten, ms.
pub const PRODUCER_IDLE_MS: u64 = 7 * DAY_MS;
/// Deduplication ids remembered for each queue.
pub const DEDUP_IDS_MAX: usize = 1_000_000;
/// Request ids remembered for each queue: sends and receives, each.
pub const REQUESTS_MAX: usize = 2_000_000;
/// How long a request id is remembered, ms.
pub const REQUEST_WINDOW_MS: u64 = 120_000;

/// Most messages that one look at a queue passes over; it says where to go on.
pub const LOOK_STEPS_MAX: usize = 16_384;
/// Most leases and delays that end in one entry.
pub const DUE_PER_ENTRY_MAX: usize = 4096;
/// Most remembered ids that one entry forgets.
pub const FORGET_PER_ENTRY_MAX: usize = 16_384;
/// Remembered ids are forgotten in steps of this, ms, so that they cause few ticks.
pub const FORGET_STEP_MS: u64 = 10_000;
/// Most chunks of purged messages (64 each) that one entry frees, beside one for each [`TRASH_SENDS_PER_CHUNK`] messages that it
/// sends and two for each purge: so that what waits to be freed cannot grow without end.
pub const TRASH_CHUNKS_PER_ENTRY_MAX: usize = 256;
/// See [`TRASH_CHUNKS_PER_ENTRY_MAX`].
pub const TRASH_SENDS_PER_CHUNK: usize = 16;
/// Dropped queues that the shard still knows as dropped; beyond it the oldest uids are forgotten.
pub const TOMBSTONES_MAX: usize = 65_536;
/// Digests of recent entries kept for comparing.
pub const RECENT_DIGESTS_MAX: usize = 256;

/// Messages of one page row, payload bytes; a longer payload has a page of its own.
pub const PAGE_BYTES_MAX: usize = 32 * 1024;

const MIB: u64 = 1024 * 1024;
const DAY_MS: u64 = 86_400_000;

const _: () = assert!(WINDOW_MESSAGES_MAX as usize <= ANSWERS_MIN);
const _: () = assert!(BODY_BYTES_MAX + PAYLOAD_OVERHEAD_BYTES_MAX <= SEND_BYTES_MAX);
const _: () = assert!(RECEIVE_MESSAGES_MAX <= WINDOW_MESSAGES_MAX);
const _: () = assert!(SETTLE_STEPS_MAX >= 32 * WINDOW_MESSAGES_MAX as usize);
const _: () = assert!(TOKEN_RANGES <= FIRST_TOKEN_MAX / TOKENS_PER_QUEUE);
const _: () = assert!(SETTLE_OUTCOMES_MAX >= ANSWERS_MIN + WINDOW_MESSAGES_MAX as usize);

/// The first token of a queue. Clients name a queue by its name and a delivery by its token: what they still hold of a deleted queue must
/// name nothing in a namesake, so the next life begins where no token of this one is.
#[must_use]
pub const fn first_token(uid: QueueUid) -> Token {
    (uid.saturating_sub(1) % TOKEN_RANGES) * TOKENS_PER_QUEUE + 1
}

/// The settings with every default filled in and every number inside its limits.
#[must_use]
pub fn resolve(settings: &QueueSettings) -> QueueSettings {
    let pick = |value: u64, default: u64, max: u64| if value == 0 { default } else { value.min(max) };
    QueueSettings {
        lease_ms: pick(settings.lease_ms, LEASE_DEFAULT_MS, LEASE_MAX_MS),
        strict: settings.strict,
        length_max: pick(settings.length_max, LENGTH_DEFAULT, LENGTH_MAX),
        bytes_max: pick(settings.bytes_max, BYTES_DEFAULT, BYTES_MAX),
        dedup_window_ms: pick(settings.dedup_window_ms, DEDUP_WINDOW_DEFAULT_MS, DEDUP_WINDOW_MAX_MS),
        resume_ms: pick(settings.resume_ms, RESUME_DEFAULT_MS, RESUME_MAX_MS),
        body_bytes_max: pick(settings.body_bytes_max, BODY_BYTES_DEFAULT, BODY_BYTES_MAX),
        retain_ms: settings.retain_ms.min(RETAIN_MAX_MS),
        retain_bytes: if settings.retain_ms == 0 && settings.retain_bytes == 0 {
            0
        } else {
            pick(settings.retain_bytes, BYTES_DEFAULT, BYTES_MAX)
        },
        compact: settings.compact,
        latest_only: settings.latest_only,
        expires_ms: match settings.expires_ms {
            0 => 0,
            expires_ms => expires_ms.clamp(EXPIRES_MIN_MS, EXPIRES_MAX_MS),
        },
        exclusive: settings.exclusive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_say_nothing_get_the_documented_defaults() {
        let resolved = resolve(&QueueSettings::default());
        assert_eq!(resolved.lease_ms, 30_000);
        assert_eq!(resolved.length_max, 10_000_000);
        assert_eq!(resolved.resume_ms, 10_000);
        assert_eq!(resolve(&resolved), resolved, "resolving twice changes nothing");
    }

    #[test]
    fn queues_have_tokens_of_their_own() {
        assert_eq!(first_token(1), 1);
        for uid in [1, 2, 500, TOKEN_RANGES - 1] {
            assert_eq!(first_token(uid + 1) - first_token(uid), TOKENS_PER_QUEUE, "uid {uid}");
        }
        assert_eq!(first_token(TOKEN_RANGES + 1), 1);
        assert!(first_token(u64::MAX) <= FIRST_TOKEN_MAX);
    }

    #[test]
    fn absurd_settings_are_cut_to_their_limits() {
        let absurd = QueueSettings {
            lease_ms: u64::MAX,
            strict: true,
            length_max: u64::MAX,
            bytes_max: u64::MAX,
            dedup_window_ms: u64::MAX,
            resume_ms: u64::MAX,
            body_bytes_max: u64::MAX,
            retain_ms: u64::MAX,
            retain_bytes: u64::MAX,
            compact: true,
            latest_only: true,
            expires_ms: u64::MAX,
            exclusive: true,
        };
        let resolved = resolve(&absurd);
        assert_eq!(resolved.lease_ms, LEASE_MAX_MS);
        assert_eq!(resolved.body_bytes_max, BODY_BYTES_MAX);
        assert_eq!(resolved.resume_ms, RESUME_MAX_MS);
        assert!(resolved.strict);
    }
}
