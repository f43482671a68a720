//! How much may happen in one history. Every figure is the most of it.

/// How often each thing may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub messages: u8,
    /// Sends that the producer has on their way at once.
    pub pipeline: u8,
    /// Receives of each consumer, each for one message.
    pub receives: u8,
    /// Nacks and extensions.
    pub other_deeds: u8,
    /// Proposals of one leader that are not committed yet.
    pub proposals: u8,
    pub fail_overs: u8,
    /// Times that a lease's time passes.
    pub waits: u8,
    /// Restarts and received snapshots.
    pub restarts: u8,
    pub lost_answers: u8,
    /// Requests that come again after they were answered, or while they are on their way.
    pub copies: u8,
    /// Restarts of the producer.
    pub forgets: u8,
}

/// One message, one receive of each consumer, and nothing goes wrong.
pub const CALM: Bounds = Bounds {
    messages: 1,
    pipeline: 1,
    receives: 1,
    other_deeds: 0,
    proposals: 1,
    fail_overs: 0,
    waits: 0,
    restarts: 0,
    lost_answers: 0,
    copies: 0,
    forgets: 0,
};

/// A lease that ends, a leader and a process.
pub const SMALL: Bounds = Bounds { fail_overs: 1, waits: 1, restarts: 1, ..CALM };

/// A message that is sent more than once.
pub const SMALL_SENDS: Bounds =
    Bounds { receives: 0, waits: 0, lost_answers: 1, copies: 1, forgets: 1, ..SMALL };

/// A producer that pipelines, repeats and loses its memory.
pub const SENDS: Bounds = Bounds {
    messages: 2,
    pipeline: 2,
    receives: 0,
    proposals: 2,
    fail_overs: 1,
    restarts: 1,
    lost_answers: 1,
    copies: 1,
    forgets: 1,
    ..CALM
};
pub const SENDS_WIDE: Bounds = Bounds { messages: 3, fail_overs: 2, ..SENDS };

/// One message that goes to and fro between two consumers.
pub const LEASES: Bounds = Bounds { receives: 2, other_deeds: 1, fail_overs: 1, waits: 1, ..CALM };
pub const LEASES_WIDE: Bounds = Bounds { waits: 2, lost_answers: 1, ..LEASES };

/// Leases that outlive processes.
pub const RESTARTS: Bounds = Bounds { fail_overs: 1, waits: 1, restarts: 1, lost_answers: 1, ..CALM };
pub const RESTARTS_WIDE: Bounds = Bounds { copies: 1, ..RESTARTS };

/// Four messages, and less that happens to them.
pub const FOUR: Bounds = Bounds { messages: 4, fail_overs: 1, waits: 1, ..CALM };
pub const FOUR_WIDE: Bounds = Bounds { proposals: 2, lost_answers: 1, ..FOUR };
