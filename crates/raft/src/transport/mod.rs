//! The wire between replicas: two connections for each peer, the service on the peer listener, and who may speak.

pub(crate) mod client;
pub(crate) mod connections;
pub(crate) mod heartbeat;
pub(crate) mod server;
pub(crate) mod wire;

/// Largest message, bytes: an entry alone in its append, with its frame.
pub(crate) const MESSAGE_BYTES_MAX: usize = crate::codec::ENTRY_BYTES_MAX + 1024 * 1024;
